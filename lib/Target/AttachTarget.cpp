//===- AttachTarget.cpp - Attach a checked NVVM target --------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-attach-target: chip and PTX version are checked before LLVM sees them.
//
//===----------------------------------------------------------------------===//

#include "moe/Target/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "moe/Target/Chip.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEATTACHTARGET
#include "moe/Target/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

/// Whether a chip that is no more than `chip` can launch the kernels of `module`. Emits
/// an error at the one that it cannot.
static LogicalResult verifyClusters(gpu::GPUModuleOp module, const Chip &chip,
                                    StringRef by) {
  if (chip.hasClusters())
    return success();
  auto verify = [&](Operation *op) -> WalkResult {
    auto kernel = dyn_cast<gpu::GPUFuncOp>(op);
    if (!(kernel && kernel.getKnownClusterSize()) &&
        !op->hasAttr(NVVM::NVVMDialect::getClusterDimAttrName()))
      return WalkResult::advance();
    return emitError(op->getLoc())
           << by << ": expected a chip whose CTAs come in clusters, sm_90 or later, for "
           << "kernel '" << cast<SymbolOpInterface>(op).getName() << "', found "
           << chip.name;
  };
  return failure(module.getBody()->walk(verify).wasInterrupted());
}

namespace {

struct AttachTargetPass : mlir::moe::impl::MoeAttachTargetBase<AttachTargetPass> {
  using MoeAttachTargetBase::MoeAttachTargetBase;

  void runOnOperation() override {
    auto emitPassError = [&] {
      // At the location, not on the op: the whole module would be printed with it.
      return emitError(getOperation().getLoc()) << getArgument() << ": ";
    };
    FailureOr<Chip> target = parseChip(chip, emitPassError);
    if (failed(target))
      return signalPassFailure();
    FailureOr<std::string> checkedFeatures =
        parseFeatures(features, *target, emitPassError);
    if (failed(checkedFeatures))
      return signalPassFailure();
    if (optLevel < 0 || optLevel > 3) {
      emitPassError() << "expected O to be from 0 to 3, found " << optLevel.getValue();
      return signalPassFailure();
    }

    auto attribute = NVVM::NVVMTargetAttr::get(
        &getContext(), optLevel, "nvptx64-nvidia-cuda", target->name, *checkedFeatures);
    for (auto module : getOperation().getOps<gpu::GPUModuleOp>()) {
      if (failed(verifyClusters(module, *target, getArgument())))
        return signalPassFailure();
      SmallVector<Attribute> targets;
      if (ArrayAttr present = module.getTargetsAttr())
        llvm::append_range(targets, present);
      if (!llvm::is_contained(targets, attribute))
        targets.push_back(attribute);
      module.setTargetsAttr(ArrayAttr::get(&getContext(), targets));
    }
  }
};

} // namespace
