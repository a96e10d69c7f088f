//===- PaddingAwareOpModels.h - Models for padding-aware ops ----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Bufferization and checks at run time for the ops with PaddingAwareOpInterface of any
// dialect: call attachPaddingAwareOpModels in an extension of the dialect. It may be
// given all ops of the dialect, as GET_OP_LIST has them; the others get nothing, but for
// those with PermutationOpInterface.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TRANSFORMS_PADDINGAWAREOPMODELS_H
#define MOE_TRANSFORMS_PADDINGAWAREOPMODELS_H

#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"
#include "mlir/Interfaces/RuntimeVerifiableOpInterface.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

namespace detail {

bool bufferizesToMemoryRead(Operation *op, OpOperand &operand);
LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                        const bufferization::BufferizationOptions &options,
                        bufferization::BufferizationState &state);
void generateRuntimeVerification(
    Operation *op, OpBuilder &builder, Location loc,
    function_ref<std::string(Operation *, StringRef)> message);
/// Loads the dialects that these make ops of.
void loadBufferizationDialects(MLIRContext *context);
void loadRuntimeVerificationDialects(MLIRContext *context);

template <typename OpTy>
struct PaddingAwareBufferizationModel
    : bufferization::DstBufferizableOpInterfaceExternalModel<
          PaddingAwareBufferizationModel<OpTy>, OpTy> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand,
                              const bufferization::AnalysisState &) const {
    return detail::bufferizesToMemoryRead(op, operand);
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const bufferization::BufferizationOptions &options,
                          bufferization::BufferizationState &state) const {
    return detail::bufferize(op, rewriter, options, state);
  }
};

template <typename OpTy>
struct PaddingAwareRuntimeVerificationModel
    : RuntimeVerifiableOpInterface::ExternalModel<
          PaddingAwareRuntimeVerificationModel<OpTy>, OpTy> {
  void generateRuntimeVerification(
      Operation *op, OpBuilder &builder, Location loc,
      function_ref<std::string(Operation *, StringRef)> message) const {
    detail::generateRuntimeVerification(op, builder, loc, message);
  }
};

template <template <typename> class Model, typename OpTy>
void attachIfPaddingAware(MLIRContext *context) {
  if constexpr (OpTy::template hasTrait<PaddingAwareOpInterface::Trait>() ||
                OpTy::template hasTrait<PermutationOpInterface::Trait>())
    OpTy::template attachInterface<Model<OpTy>>(*context);
}

} // namespace detail

/// One-shot bufferization of those of `OpTys` that are padding-aware, in place on the
/// destinations.
template <typename... OpTys> void attachBufferizationModels(MLIRContext *context) {
  detail::loadBufferizationDialects(context);
  (detail::attachIfPaddingAware<detail::PaddingAwareBufferizationModel, OpTys>(context),
   ...);
}

/// Checks of sizes that are known only when the program runs.
template <typename... OpTys> void attachRuntimeVerificationModels(MLIRContext *context) {
  detail::loadRuntimeVerificationDialects(context);
  (detail::attachIfPaddingAware<detail::PaddingAwareRuntimeVerificationModel, OpTys>(
       context),
   ...);
}

/// Both.
template <typename... OpTys> void attachPaddingAwareOpModels(MLIRContext *context) {
  attachBufferizationModels<OpTys...>(context);
  attachRuntimeVerificationModels<OpTys...>(context);
}

} // namespace mlir::moe

#endif // MOE_TRANSFORMS_PADDINGAWAREOPMODELS_H
