//===- MoeOpBase.td - What padding-aware ops have in common -*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The base of the ops of this dialect and of padding-aware ops in other dialects.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEOPBASE
#define MOE_IR_MOEOPBASE

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "moe/IR/MoeInterfaces.td"

// Element types and ranks are left to the verifier, whose messages name the operand, what
// was expected and what was found.
def Moe_TensorOrMemRef : AnyTypeOf<[AnyRankedTensor, AnyStridedMemRef],
    "ranked tensor or strided memref", "::mlir::ShapedType">;

// An op of destination style whose operands are inputs and then the destinations, with
// `interface`. An extraClassDefinition of its own begins with `baseClassDefinition`.
class Moe_DestinationStyleOpBase<Dialect dialect, string mnemonic, Trait interface,
                                 list<Trait> traits = []>
    : Op<dialect, mnemonic, !listconcat(traits, [
        DestinationStyleOpInterface,
        interface,
        DeclareOpInterfaceMethods<ConditionallySpeculatable>,
        DeclareOpInterfaceMethods<MemoryEffectsOpInterface>,
        DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface,
                                  ["reifyResultShapes"]>])> {
  let hasFolder = 1;
  let hasCanonicalizer = 1;
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return ::mlir::moe::detail::getDestinationsMutable(getOperation());
    }
  }];
  code baseClassDefinition = [{
    ::llvm::LogicalResult $cppClass::fold(
        FoldAdaptor, ::llvm::SmallVectorImpl<::mlir::OpFoldResult> &) {
      return ::mlir::moe::detail::foldMemRefCasts(*this);
    }
    void $cppClass::getCanonicalizationPatterns(
        ::mlir::RewritePatternSet &patterns, ::mlir::MLIRContext *) {
      ::mlir::moe::detail::addContradictionPattern(patterns, getOperationName());
    }
    void $cppClass::getEffects(
        ::llvm::SmallVectorImpl<::mlir::SideEffects::EffectInstance<
            ::mlir::MemoryEffects::Effect>> &effects) {
      ::mlir::moe::detail::collectEffects(*this, effects);
    }
    ::mlir::Speculation::Speculatability $cppClass::getSpeculatability() {
      return ::mlir::moe::detail::getSpeculatability(*this);
    }
    ::llvm::LogicalResult $cppClass::reifyResultShapes(
        ::mlir::OpBuilder &builder,
        ::mlir::ReifiedRankedShapedTypeDims &shapes) {
      return ::mlir::moe::detail::reifyShapes(*this, builder, shapes);
    }
  }];
  let extraClassDefinition = baseClassDefinition;
}

// A padding-aware op: its operands are `x`, `permutation_map`, `n_used` and the
// destinations, its results those of destination style. `methods` are the methods of
// PaddingAwareOpInterface that the op defines besides `getFormat` and `buildActivation`.
class Moe_PaddingAwareOpBase<Dialect dialect, string mnemonic,
                             list<string> methods = [], list<Trait> traits = []>
    : Moe_DestinationStyleOpBase<
          dialect, mnemonic,
          DeclareOpInterfaceMethods<Moe_PaddingAwareOpInterface, methods>, traits>;

#endif // MOE_IR_MOEOPBASE
