//===- MoeOps.td - Ops of the moe dialect -------------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The named ops and the generic one that they are cases of. The constraints are numbered;
// the verifier's messages and test/Dialect/invalid.mlir cite the numbers.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEOPS
#define MOE_IR_MOEOPS

include "mlir/Interfaces/ControlFlowInterfaces.td"
include "moe/IR/MoeDialect.td"
include "moe/IR/MoeFormats.td"
include "moe/IR/MoeOpBase.td"

class Moe_PaddingAwareOp<string mnemonic, list<string> methods = [],
                         list<Trait> traits = []>
    : Moe_PaddingAwareOpBase<Moe_Dialect, mnemonic, methods, traits>;

//===----------------------------------------------------------------------===//
// What named ops are made of: an activation and a format
//===----------------------------------------------------------------------===//

// An activation: its name, by which fusion finds the op that computes it and stores it in
// another format, and the C++ expression that builds it, of `builder`, `loc` and `elements`,
// as buildActivation has them, and of the op's attributes. Functions for it are in
// lib/IR/Activations.cpp.
class Moe_Activation<string name_, code expression_, bit isIdentity_ = 0> {
  string name = name_;
  code expression = expression_;
  bit isIdentity = isIdentity_;
}

def Moe_Identity : Moe_Activation<"", "elements", /*isIdentity=*/1>;
def Moe_SquaredRelu
    : Moe_Activation<"squared_relu", "buildSquaredRelu(builder, loc, elements)">;

// An op with an activation that is stored in a format, the C++ expression of its attribute.
class Moe_NamedOp<string mnemonic, Moe_Activation activation, code format>
    : Moe_PaddingAwareOp<mnemonic, ["getActivationName", "isIdentity"]> {
  let extraClassDefinition = baseClassDefinition # [{
    ::mlir::moe::FormatAttrInterface $cppClass::getFormat() {
      return }] # format # [{;
    }
    ::llvm::StringRef $cppClass::getActivationName() {
      return "}] # activation.name # [{";
    }
    bool $cppClass::isIdentity() {
      return }] # !if(activation.isIdentity, "true", "false") # [{;
    }
    ::mlir::Value $cppClass::buildActivation(::mlir::OpBuilder &builder,
                                             ::mlir::Location loc,
                                             ::mlir::Value elements) {
      return }] # activation.expression # [{;
    }
  }];
}

// An op that stores its activation in bf16.
class Moe_BF16Op<string mnemonic, Moe_Activation activation>
    : Moe_NamedOp<mnemonic, activation, "BF16Attr::get(getContext())"> {
  let arguments = (ins Moe_TensorOrMemRef:$x, Moe_TensorOrMemRef:$permutation_map,
                       Moe_TensorOrMemRef:$n_used, Moe_TensorOrMemRef:$out);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    `ins` `(` $x `,` $permutation_map `,` $n_used `:`
              type($x) `,` type($permutation_map) `,` type($n_used) `)`
    `outs` `(` $out `:` type($out) `)` attr-dict (`->` type($result)^)?
  }];
}

// An op that stores its activation in MXFP8, or in a format of other elements in its place,
// given with what the description calls them.
class Moe_MXFP8QuantizeOp<string mnemonic, Moe_Activation activation,
                          string format = "MXFP8Attr", string element = "f8E4M3FN">
    : Moe_NamedOp<mnemonic, activation,
                  format # "::get(getContext(), getScaleLayout(), getDeadScales())"> {
  // What the quantising ops have in common, for their descriptions.
  string constraints = [{

    Constraints:
    - (C1) The operands are all tensors, or all memrefs.
    - (C2) `x` is a matrix `[M, K]` of bf16 with `1 <= K < 2^31`.
    - (C3) `permutation_map` is a vector `[M]` of i32.
    - (C4) `n_used` is one i32: of rank 0, or of rank 1 with one element.
    - (C5) `data` is a matrix `[M, K]` of }] # element # [{.
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
}

//===----------------------------------------------------------------------===//
// Named ops
//===----------------------------------------------------------------------===//

def Moe_PaddedSquaredReluOp : Moe_BF16Op<"padded_squared_relu", Moe_SquaredRelu> {
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
}

def Moe_QuantizeMXFP8Op : Moe_MXFP8QuantizeOp<"quantize_mxfp8", Moe_Identity> {
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
    : Moe_MXFP8QuantizeOp<"squared_relu_quantize_mxfp8", Moe_SquaredRelu> {
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

//===----------------------------------------------------------------------===//
// The generic op
//===----------------------------------------------------------------------===//

def Moe_MapRowsOp
    : Moe_PaddingAwareOp<"map_rows", ["isIdentity", "getKernelBaseName"],
                         [IsolatedFromAbove, SingleBlock]> {
  let summary = "An activation of the live rows, stored in a format";
  let description = [{
    For every live row `r` (see the dialect's description) and every column `c`, the region
    computes the activation of `x[r, c]`, a bf16, from a bf16. The destinations hold the
    activations as `format` says. All other rows are untouched, and so are their scales
    unless the format clears them.

    The other ops of the dialect are this one with a certain region and format, and
    `moe-generalize` makes them so. `kernel_name` is what kernels for the op are called, by
    default `map_rows`; it changes nothing else.

    The region says what is computed, not how. Each of its ops rounds as it says, by IEEE
    754, to nearest; subnormals are kept. A lowering works on many elements at once.

    Constraints, besides C1 to C7, C10 and C11 of `moe.padded_squared_relu` and, for a
    format with scales, C8 and C9 of `moe.quantize_mxfp8`:
    - (C12) The region takes one bf16 and yields one bf16, by `moe.yield`.
    - (C13) It consists of `arith.constant` and of elementwise ops of `arith` and `math`
      without side effects, on scalars: integers and floats.

    Example: a leaky relu, quantised.

    ```mlir
    moe.map_rows
      ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
      outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
      format(#moe.mxfp8) {
    ^bb0(%v: bf16):
      %quarter = arith.constant 0.25 : bf16
      %small = arith.mulf %v, %quarter : bf16
      %a = arith.maxnumf %v, %small : bf16
      moe.yield %a : bf16
    }
    ```
  }];
  let arguments = (ins Moe_TensorOrMemRef:$x, Moe_TensorOrMemRef:$permutation_map,
                       Moe_TensorOrMemRef:$n_used,
                       Variadic<Moe_TensorOrMemRef>:$outs,
                       Moe_FormatAttrInterface:$format,
                       OptionalAttr<StrAttr>:$kernel_name);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$activation);
  let assemblyFormat = [{
    `ins` `(` $x `,` $permutation_map `,` $n_used `:`
              type($x) `,` type($permutation_map) `,` type($n_used) `)`
    `outs` `(` $outs `:` type($outs) `)` `format` `(` $format `)`
    (`kernel_name` `(` $kernel_name^ `)`)? attr-dict-with-keyword $activation
    (`->` type($results)^)?
  }];
  let hasRegionVerifier = 1;
}

def Moe_YieldOp : Op<Moe_Dialect, "yield", [
    Pure, ReturnLike, Terminator, HasParent<"MapRowsOp">]> {
  let summary = "The activation of an element";
  let description = [{
    Ends the region of `moe.map_rows`.
  }];
  let arguments = (ins AnyType:$activation);
  let assemblyFormat = "$activation attr-dict `:` type($activation)";
}

#endif // MOE_IR_MOEOPS
