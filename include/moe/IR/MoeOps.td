//===- MoeOps.td - Ops of the moe dialect -------------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The padding-aware activation and the quantising ops. The constraints are numbered;
// the verifier's messages and test/Dialect/invalid.mlir cite the numbers.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEOPS
#define MOE_IR_MOEOPS

include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "moe/IR/MoeAttrs.td"
include "moe/IR/MoeDialect.td"
include "moe/IR/MoeInterfaces.td"

// Element types and ranks are left to the verifier, whose messages name the operand, what
// was expected and what was found.
def Moe_TensorOrMemRef : AnyTypeOf<[AnyRankedTensor, AnyStridedMemRef],
    "ranked tensor or strided memref", "::mlir::ShapedType">;

class Moe_PaddingAwareOp<string mnemonic, list<Trait> traits = []>
    : Op<Moe_Dialect, mnemonic, !listconcat(traits, [
        DestinationStyleOpInterface,
        DeclareOpInterfaceMethods<ConditionallySpeculatable>,
        DeclareOpInterfaceMethods<MemoryEffectsOpInterface>,
        DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface,
                                  ["reifyResultShapes"]>])> {
  let hasFolder = 1;
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
  let extraClassDefinition = [{
    ::llvm::LogicalResult $cppClass::fold(
        FoldAdaptor, ::llvm::SmallVectorImpl<::mlir::OpFoldResult> &) {
      return foldMemRefCasts(*this);
    }
    void $cppClass::getCanonicalizationPatterns(
        ::mlir::RewritePatternSet &patterns, ::mlir::MLIRContext *) {
      addContradictionPattern<$cppClass>(patterns);
    }
    void $cppClass::getEffects(
        ::llvm::SmallVectorImpl<::mlir::SideEffects::EffectInstance<
            ::mlir::MemoryEffects::Effect>> &effects) {
      collectEffects(*this, effects);
    }
    ::mlir::Speculation::Speculatability $cppClass::getSpeculatability() {
      return getSpeculatabilityOf(*this);
    }
    ::llvm::LogicalResult $cppClass::reifyResultShapes(
        ::mlir::OpBuilder &builder,
        ::mlir::ReifiedRankedShapedTypeDims &shapes) {
      return reifyShapes(*this, builder, shapes);
    }
  }];
}

def Moe_PaddedSquaredReluOp : Moe_PaddingAwareOp<"padded_squared_relu", [
    DeclareOpInterfaceMethods<Moe_PaddingAwareOpInterface, ["buildActivation"]>]> {
  let summary = "Squared ReLU of the live rows";
  let description = [{
    For every live row `r` (see the dialect's description) and every column `c`

        out[r, c] = bf16(f32(relu(x[r, c]))^2)

    rounded to nearest, ties to even, where `relu(v) = max(v, 0)` by IEEE 754-2019
    `maximumNumber`: NaN gives 0, -0 gives +0, +inf gives +inf. An overflow rounds to
    +inf and subnormals are kept. All other rows are untouched.

    Constraints:
    - (C1) The operands are all tensors, or all memrefs.
    - (C2) `x` is a matrix `[M, N]` of bf16 with `1 <= N < 2^31`.
    - (C3) `permutation_map` is a vector `[M]` of i32.
    - (C4) `n_used` is one i32: of rank 0, or of rank 1 with one element.
    - (C5) `out` is a matrix `[M, N]` of bf16.
    - (C6) In memory the innermost dimension has stride 1. Rows may have any stride.
    - (C7) There is a result for each tensor of `outs`, of the same type, and none for
      memrefs.
    - (C10) In memory no destination is also another operand.
    - (C11) No operand spans 2^63 bytes or more.

    Example:

    ```mlir
    %r = moe.padded_squared_relu
           ins(%x, %map, %n : tensor<?x1856xbf16>, tensor<?xi32>, tensor<i32>)
           outs(%init : tensor<?x1856xbf16>) -> tensor<?x1856xbf16>
    ```

    Source: `padded_squared_relu` of Megatron-Core's `core.inference.moe.activations`.
  }];
  let arguments = (ins Moe_TensorOrMemRef:$x, Moe_TensorOrMemRef:$permutation_map,
                       Moe_TensorOrMemRef:$n_used, Moe_TensorOrMemRef:$out);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    `ins` `(` $x `,` $permutation_map `,` $n_used `:`
              type($x) `,` type($permutation_map) `,` type($n_used) `)`
    `outs` `(` $out `:` type($out) `)` attr-dict (`->` type($result)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return ::mlir::MutableOperandRange(getOperation(), 3, 1);
    }
  }];
}

class Moe_MXFP8QuantizeOp<string mnemonic>
    : Moe_PaddingAwareOp<mnemonic, [
        DeclareOpInterfaceMethods<Moe_PaddingAwareOpInterface, ["buildActivation"]>,
        DeclareOpInterfaceMethods<Moe_MXFP8QuantizeOpInterface,
                                  ["hasNonNegativeActivation"]>]> {
  // What the two quantising ops have in common, for their descriptions.
  string constraints = [{

    Constraints:
    - (C1) The operands are all tensors, or all memrefs.
    - (C2) `x` is a matrix `[M, K]` of bf16 with `1 <= K < 2^31`.
    - (C3) `permutation_map` is a vector `[M]` of i32.
    - (C4) `n_used` is one i32: of rank 0, or of rank 1 with one element.
    - (C5) `data` is a matrix `[M, K]` of f8E4M3FN.
    - (C6) In memory the innermost dimension has stride 1. Rows may have any stride.
    - (C7) There is a result for each tensor of `outs`, of the same type, and none for
      memrefs.
    - (C8) `K` is a multiple of 32.
    - (C9) `scale` is of f8E8M0FNU: a vector of
      `ceil(M / 128) * ceil(K / 128) * 512` elements under `swizzle_32_4_4`, a matrix
      `[M, K / 32]` under `linear`.
    - (C10) In memory no destination is also another operand.
    - (C11) No operand spans 2^63 bytes or more.
  }];
  let arguments = (ins Moe_TensorOrMemRef:$x, Moe_TensorOrMemRef:$permutation_map,
                       Moe_TensorOrMemRef:$n_used, Moe_TensorOrMemRef:$data,
                       Moe_TensorOrMemRef:$scale,
                       DefaultValuedAttr<Moe_ScaleLayoutAttr,
                         "::mlir::moe::ScaleLayout::Swizzle32_4_4">:$scale_layout,
                       DefaultValuedAttr<Moe_DeadScalesAttr,
                         "::mlir::moe::DeadScales::Zero">:$dead_scales);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` $x `,` $permutation_map `,` $n_used `:`
              type($x) `,` type($permutation_map) `,` type($n_used) `)`
    `outs` `(` $data `,` $scale `:` type($data) `,` type($scale) `)`
    (`scale_layout` `` $scale_layout^)? (`dead_scales` `` $dead_scales^)?
    attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return ::mlir::MutableOperandRange(getOperation(), 3, 2);
    }
  }];
}

def Moe_QuantizeMXFP8Op : Moe_MXFP8QuantizeOp<"quantize_mxfp8"> {
  let summary = "MXFP8 quantisation of the live rows";
  let description = [{
    Quantises every live row of `x` to MXFP8 as the dialect's description says, with
    `a[c] = x[r, c]`: any bf16 value, sign kept. Rows of `data` that are not live are
    untouched. `scale_layout` and `dead_scales` say where the scales go.
  }] # constraints # [{
    Example:

    ```mlir
    moe.quantize_mxfp8
      ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
      outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?x58xf8E8M0FNU>)
      scale_layout<linear> dead_scales<untouched>
    ```

    Source: OCP Microscaling Formats (MX) v1.0, with the scale rounded up.
  }];
}

def Moe_SquaredReluQuantizeMXFP8Op
    : Moe_MXFP8QuantizeOp<"squared_relu_quantize_mxfp8"> {
  let summary = "Squared ReLU of the live rows, quantised to MXFP8";
  let description = [{
    `moe.padded_squared_relu` and `moe.quantize_mxfp8` in one pass over `x`. The
    activation is rounded to bf16 before it is quantised, so the bytes are those of the
    two ops one after the other.
  }] # constraints # [{
    Example:

    ```mlir
    moe.squared_relu_quantize_mxfp8
      ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
      outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
    ```

    Source: `squared_relu_and_quantize_mxfp8` of Megatron-Core's
    `core.inference.moe.activations`.
  }];
}

#endif // MOE_IR_MOEOPS
