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
include "moe/IR/MoeAttrs.td"
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
// of which buildActivation has the first, and of the op's attributes. Functions for it are
// in lib/IR/Activations.cpp.
class Moe_Activation<string name_, code expression_, bit isIdentity_ = 0> {
  string name = name_;
  code expression = expression_;
  bit isIdentity = isIdentity_;
  // Of an activation with parameters: the attributes of its ops, the text of those that are
  // not in the dictionary of attributes, and C++ expressions of the parameters: what comes
  // after the name of a kernel, a std::string, and which constraint they break, as an error
  // says it, a std::optional<std::string>.
  dag attributes = (ins);
  string assembly = "";
  code kernelSuffix = "std::string()";
  code violation = "std::optional<std::string>()";
  // Of one of pairs of columns, the PairsAttr; `parts` are both then.
  code pairs = "::mlir::moe::PairsAttr()";
  // Whether the expression multiplies by `prob`, the factor of the row, which is null if
  // there is none. Else the bf16 that it gives is multiplied and rounded again.
  bit takesProb = 0;
  // Whether rows of `x` are gathered. Such ops have a map, and no `probs`.
  bit gathers = 0;
}

def Moe_Identity : Moe_Activation<"", "elements", /*isIdentity=*/1>;
def Moe_SquaredRelu
    : Moe_Activation<"squared_relu",
                     "buildSquaredRelu(builder, loc, elements, getClampScale(), prob)"> {
  let takesProb = 1;
  let attributes = (ins OptionalAttr<F32Attr>:$clamp_scale);
  let kernelSuffix = "getClampSuffix(getClampScale())";
  let violation = "checkClampScale(getClampScale())";
}

// Gated linear units, whose gates are one of two parts.
def Moe_SwiGLU
    : Moe_Activation<"swiglu", "detail::buildGatedActivation(*this, builder, loc, parts, prob)"> {
  let takesProb = 1;
  let attributes = (ins
      OptionalAttr<Moe_GateLayoutAttr>:$gate_layout,
      OptionalAttr<F32Attr>:$limit,
      DefaultValuedAttr<Moe_LimitAtAttr, "::mlir::moe::LimitAt::Before">:$limit_at,
      DefaultValuedAttr<F32Attr, "1.0f">:$alpha,
      DefaultValuedAttr<F32Attr, "0.0f">:$beta,
      DefaultValuedAttr<Moe_GateActivationAttr,
        "::mlir::moe::GateActivation::Silu">:$activation);
  let assembly = [{
    (`gate_layout` `` $gate_layout^)? (`limit_at` `` $limit_at^)?
    (`activation` `` $activation^)?
  }];
  let kernelSuffix = "detail::getGatedKernelSuffix(*this)";
  let violation = "detail::checkGatedOp(*this)";
  let pairs = "detail::getGatePairs(getGateLayoutAttr(), getContext())";
}

// The rows that hold tokens, as they are.
def Moe_Permute : Moe_Activation<"permute", "elements"> { let gathers = 1; }

// An op with an activation that is stored in a format, the C++ expression of its attribute.
class Moe_NamedOp<string mnemonic, Moe_Activation activation, code format>
    : Moe_PaddingAwareOp<mnemonic,
          !listconcat(["getActivationName", "getColumnPairs", "getGathers", "getDeadRows",
                       "getKernelBaseName", "isIdentity"],
                      !if(activation.gathers, []<string>, ["getProbs"])),
          !if(activation.gathers, []<Trait>, [AttrSizedOperandSegments])> {
  let hasVerifier = 1;
  let extraClassDefinition = baseClassDefinition # [{
    ::mlir::moe::FormatAttrInterface $cppClass::getFormat() {
      return }] # format # [{;
    }
    ::llvm::StringRef $cppClass::getActivationName() {
      return "}] # activation.name # [{";
    }
    bool $cppClass::isIdentity() {
      return }] # !if(activation.isIdentity, "!getProbs()", "false") # [{;
    }
    bool $cppClass::getGathers() {
      return }] # !if(activation.gathers, "true", "false") # [{;
    }
    ::mlir::moe::PairsAttr $cppClass::getColumnPairs() {
      return }] # activation.pairs # [{;
    }
    std::string $cppClass::getKernelBaseName() {
      return ::mlir::moe::detail::getKernelName(*this, }] # activation.kernelSuffix # [{);
    }
    ::mlir::Value $cppClass::buildActivation(::mlir::OpBuilder &builder,
                                             ::mlir::Location loc,
                                             ::mlir::ValueRange parts) {
      [[maybe_unused]] ::mlir::Value elements = parts.front();
      ::mlir::Value prob = getProbs() ? parts.back() : ::mlir::Value();
      ::mlir::Value activation = }] # activation.expression # [{;
      return }] # !if(activation.takesProb, "activation",
                      "buildWeighted(builder, loc, activation, prob)") # [{;
    }
    ::llvm::LogicalResult $cppClass::verify() {
      std::optional<std::string> violation = }] # activation.violation # [{;
      return violation ? emitOpError(*violation) : ::mlir::success();
    }
  }];
}

// An op that stores its activation in bf16.
class Moe_BF16Op<string mnemonic, Moe_Activation activation>
    : Moe_NamedOp<mnemonic, activation, "BF16Attr::get(getContext())"> {
  let arguments = !con(
      (ins Moe_TensorOrMemRef:$x, Optional<Moe_TensorOrMemRef>:$permutation_map,
           Moe_TensorOrMemRef:$n_used, Optional<Moe_TensorOrMemRef>:$probs,
           Moe_TensorOrMemRef:$out), activation.attributes,
      (ins DefaultValuedAttr<Moe_DeadRowsAttr,
             "::mlir::moe::DeadRows::Untouched">:$dead_rows));
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    `ins` `(` custom<Inputs>($x, $permutation_map, $n_used, type($x),
                             type($permutation_map), type($n_used)) `)`
    (`probs` `(` $probs^ `:` type($probs) `)`)?
    `outs` `(` $out `:` type($out) `)`
  }] # activation.assembly # [{
    (`dead_rows` `` $dead_rows^)? attr-dict (`->` type($result)^)?
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
  let arguments = !con(
      (ins Moe_TensorOrMemRef:$x, Optional<Moe_TensorOrMemRef>:$permutation_map,
           Moe_TensorOrMemRef:$n_used, Optional<Moe_TensorOrMemRef>:$probs,
           Moe_TensorOrMemRef:$data, Moe_TensorOrMemRef:$scale), activation.attributes,
      (ins DefaultValuedAttr<Moe_DeadRowsAttr,
             "::mlir::moe::DeadRows::Untouched">:$dead_rows,
           DefaultValuedAttr<Moe_ScaleLayoutAttr,
             "::mlir::moe::ScaleLayout::Swizzle32_4_4">:$scale_layout,
           DefaultValuedAttr<Moe_DeadScalesAttr,
             "::mlir::moe::DeadScales::Zero">:$dead_scales));
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` custom<Inputs>($x, $permutation_map, $n_used, type($x),
                             type($permutation_map), type($n_used)) `)`
    (`probs` `(` $probs^ `:` type($probs) `)`)?
    `outs` `(` $data `,` $scale `:` type($data) `,` type($scale) `)`
  }] # activation.assembly # [{
    (`dead_rows` `` $dead_rows^)? (`scale_layout` `` $scale_layout^)?
    (`dead_scales` `` $dead_scales^)?
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

    With `clamp_scale`, a positive f32 `s`, the relu is clamped before it is squared,

        r = relu(x[r, c])
        v = f32(r / s)
        t = f32(s * tanh(v))
        out[r, c] = bf16(f32(t * t))

    where `tanh` is a sequence of IEEE operations (`buildTanh` in lib/IR/Activations.cpp),
    within 3 units in the last place of the exact function and the same bits everywhere.

    `permutation_map` may be left out: then all rows below `n_used` are live. With `probs`
    a live row is multiplied by its factor, `out[r, c]` being

        bf16(f32(f32(bf16(f32(relu(x[r, c])^2))) * probs[r]))
        bf16(f32(f32(t * t) * probs[r]))                         with clamp_scale

    and a NaN being 0x7fff. `dead_rows<zero>` writes zeros to rows below `n_used` that are
    not live. All ops of the dialect have these three, each with the formula that it says.

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

    - (C17) `clamp_scale` is positive and finite.
    - (C18) `probs` is a vector `[M]` of f32.

    Example, with what is optional:

    ```mlir
    moe.padded_squared_relu
      ins(%x, %n : memref<?x1856xbf16>, memref<i32>) probs(%probs : memref<?xf32>)
      outs(%out : memref<?x1856xbf16>) dead_rows<zero> {clamp_scale = 16.0 : f32}
    ```

    Source: `padded_squared_relu` of Megatron-Core's `core.inference.moe.activations`, whose
    newer versions have `activation_func_tanh_clamp_scale`.
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
    two ops one after the other, also with `clamp_scale`.
  }] # constraints # [{
    - (C17) `clamp_scale` is positive and finite.
    - (C18) `probs` is a vector `[M]` of f32.

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

// What the ops of gated linear units have in common, for their descriptions.
defvar Moe_GatedFormula = [{
    Of every live row `r` (see the dialect's description) and every column `c`, `g` and `u`
    are the pair of `c` that `gate_layout` says: `x[r, c]` and `x[r, N + c]` by default, the
    other way round with `up_gate`; with `interleaved<b>` blocks of `b` columns take turns,
    and that of the gate comes first. In bf16 and f32 arithmetic, rounded where it says so
    and nowhere else,

        gc = limit ? min(g, limit) : g
        uc = limit ? max(-limit, min(u, limit)) : u
        w  = f32(alpha * gc)
        s  = f32(gc * sigma(w))
        t  = f32(uc + beta)
        a  = bf16(f32(s * t))
        a  = bf16(f32(f32(s * t) * probs[r]))      with probs

    to nearest, ties to even. `sigma`, the logistic function, is a sequence of IEEE
    operations (`buildSigmoid` in lib/IR/GatedUnit.cpp), so that its bits are the same
    everywhere: within 2.2 units in the last place of the exact function, and in no `a` of
    plain SwiGLU different from `1 / (1 + exp(-w))` with an exact `exp`. Subnormals are
    kept. Minima and maxima keep NaN; a NaN in `g` or `u` gives NaN, which is 0x7fff, and so
    does `g` of -inf, as -inf * 0.

    | attribute | default | |
    |---|---|---|
    | `gate_layout` | `gate_up` | where gates are: `gate_up`, `up_gate`, `interleaved<b>` |
    | `limit` | none | a positive bf16 value |
    | `limit_at` | `before` | `after`: of `s`, `s = min(s, limit)`, rather than of `g` |
    | `alpha` | 1 | with `silu` |
    | `beta` | 0 | |
    | `activation` | `silu` | `gelu_tanh`: `w = f32(gc * fma(c1, f32(gc * gc), c0))`, `c0` and `c1` being 0x3fcc422a and 0x3d922279 |
  }];
defvar Moe_GatedConstraints = [{
    - (C14) `x` has two columns for each of the destination, of which there is a multiple of
      the blocks that are `interleaved`.
    - (C15) `limit` is a positive finite bf16 value. `limit_at<after>` has one.
    - (C16) `alpha` and `beta` are finite, and `alpha` is 1 with `gelu_tanh`.
    - (C18) `probs` is a vector `[M]` of f32.
  }];
defvar Moe_GatedSources = [{
    Sources: `padded_swiglu` of Megatron-Core's `core.inference.moe.activations`, which is
    this without attributes, and its `clamped_swiglu` (`limit = 10`, DeepSeek-V4);
    `SwigluBiasAdaptor` (`limit = 7`, `alpha = 1.702`, `beta = 1`: gpt-oss) and
    `SwigluStepAdaptor` (`limit_at<after>`: Step-3.5) of FlashInfer.
  }];

def Moe_PaddedSwiGLUOp
    : Moe_BF16Op<"padded_swiglu", Moe_SwiGLU> {
  let summary = "SwiGLU of the live rows";
  let description = Moe_GatedFormula # [{
    Rows of `out`, which holds `a`, that are not live are untouched.

    Constraints, besides C1 to C4, C6, C7, C10 and C11 of `moe.padded_squared_relu`:
    - (C5) `out` is a matrix `[M, N]` of bf16, and `x` one `[M, 2N]`.
  }] # Moe_GatedConstraints # [{
    Example:

    ```mlir
    %r = moe.padded_swiglu
           ins(%x, %map, %n : tensor<?x3712xbf16>, tensor<?xi32>, tensor<i32>)
           outs(%init : tensor<?x1856xbf16>) -> tensor<?x1856xbf16>
    ```

  }] # Moe_GatedSources;
}

def Moe_SwiGLUQuantizeMXFP8Op
    : Moe_MXFP8QuantizeOp<"swiglu_quantize_mxfp8", Moe_SwiGLU> {
  let summary = "SwiGLU of the live rows, quantised to MXFP8";
  let description = [{
    `moe.padded_swiglu` and `moe.quantize_mxfp8` in one pass over `x`. The activation is
    rounded to bf16 before it is quantised, so the bytes are those of the two ops one after
    the other.

  }] # Moe_GatedFormula # [{
    Constraints, besides C1 to C4, C6, C7, C10 and C11 of `moe.padded_squared_relu`:
    - (C5) `data` is a matrix `[M, K]` of f8E4M3FN, and `x` one `[M, 2K]`.
    - (C8) `K` is a multiple of 32.
    - (C9) `scale` is of f8E8M0FNU, as that of `moe.quantize_mxfp8`.
  }] # Moe_GatedConstraints # [{
    Example:

    ```mlir
    moe.swiglu_quantize_mxfp8
      ins(%x, %map, %n : memref<?x5760xbf16>, memref<?xi32>, memref<i32>)
      outs(%data, %scale : memref<?x2880xf8E4M3FN>, memref<?xf8E8M0FNU>)
      gate_layout<interleaved<1>>
      {limit = 7.0 : f32, alpha = 1.702 : f32, beta = 1.0 : f32}
    ```

    Nobody else has this with a mask of padding. Others quantise the f32 activation, which
    gives other bytes: TransformerEngine, DeepGEMM. As here, after rounding to bf16:
    TensorRT-LLM, vLLM, SGLang.

  }] # Moe_GatedSources;
}

//===----------------------------------------------------------------------===//
// Named ops that gather
//===----------------------------------------------------------------------===//

// An op that brings tokens into the order of their experts. There is nothing to multiply by
// `probs`, which wait until the experts are done.
class Moe_PermuteOp<string mnemonic, code format> : Moe_NamedOp<mnemonic, Moe_Permute, format> {
  // What both ops ask of their inputs, for their descriptions.
  string inputConstraints = [{
    - (C1) The operands are all tensors, or all memrefs.
    - (C2) `x` is a matrix `[T, H]` of bf16 with `1 <= H < 2^31`.
    - (C3) `permutation_map` is a vector `[R]` of i32.
    - (C4) `n_used` is one i32: of rank 0, or of rank 1 with one element.
  }];
  string otherConstraints = [{
    - (C6) In memory the innermost dimension has stride 1. Rows may have any stride.
    - (C7) There is a result for each tensor of `outs`, of the same type, and none for
      memrefs.
    - (C10) In memory no destination is also another operand.
    - (C11) No operand spans 2^63 bytes or more.
  }];
  dag inputs = (ins Moe_TensorOrMemRef:$x, Moe_TensorOrMemRef:$permutation_map,
                    Moe_TensorOrMemRef:$n_used);
  dag rowAttributes = (ins DefaultValuedAttr<Moe_DeadRowsAttr,
                             "::mlir::moe::DeadRows::Untouched">:$dead_rows);
  string inputFormat = [{
    `ins` `(` $x `,` $permutation_map `,` $n_used `:` type($x) `,` type($permutation_map) `,`
              type($n_used) `)`
  }];
}

def Moe_PermuteTokensOp : Moe_PermuteOp<"permute_tokens", "BF16Attr::get(getContext())"> {
  let summary = "Copy tokens to the rows that they go to";
  let description = [{
    `x`, `[T, H]`, has a row for each token; `out`, `[R, H]`, the rows of the experts, of
    which `permutation_map` has the token of each. For every row `r` with

        r < n_used  and  0 <= permutation_map[r] < T

    and every column `c`

        out[r, c] = x[permutation_map[r], c]

    bit for bit, NaN too. All other rows are untouched, or, if they are below `n_used`, zeros
    under `dead_rows<zero>`. A token may go to any number of rows. An entry at or past `T` is
    no error: its row holds no token, as with a negative one. `n_used` below 0 counts as 0,
    above `R` as `R`, and entries at or past it decide nothing.

    Constraints:
  }] # inputConstraints # [{
    - (C5) `out` is a matrix `[R, H]` of bf16.
  }] # otherConstraints # [{
    Example:

    ```mlir
    moe.permute_tokens
      ins(%x, %map, %n : memref<?x2688xbf16>, memref<?xi32>, memref<i32>)
      outs(%out : memref<?x2688xbf16>)
    ```

    Source: `permute_tokens` of Megatron-Core's `core.inference.moe.permute`, the part of it
    that moves tokens. It makes the map in the same kernel, by atomics.
  }];
  let arguments = !con(inputs, (ins Moe_TensorOrMemRef:$out), rowAttributes);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = inputFormat # [{
    `outs` `(` $out `:` type($out) `)` (`dead_rows` `` $dead_rows^)? attr-dict
    (`->` type($result)^)?
  }];
}

def Moe_PermuteQuantizeMXFP8Op
    : Moe_PermuteOp<"permute_quantize_mxfp8",
                    "MXFP8Attr::get(getContext(), getScaleLayout(), getDeadScales())"> {
  let summary = "Copy tokens to the rows that they go to, quantised to MXFP8";
  let description = [{
    `moe.permute_tokens` and `moe.quantize_mxfp8` of its result in one pass, with the same
    bytes: the live rows are those of `moe.permute_tokens`, with as many scales as there are
    rows of `data`. `scale_layout` and `dead_scales` say where the scales go, and what becomes
    of those of rows that are not live.

    Constraints:
  }] # inputConstraints # [{
    - (C5) `data` is a matrix `[R, H]` of f8E4M3FN.
    - (C8) `H` is a multiple of 32.
    - (C9) `scale` is of f8E8M0FNU: a vector of
      `ceil(R / 128) * ceil(H / 128) * 512` elements under `swizzle_32_4_4`, a matrix
      `[R, H / 32]` under `linear`.
  }] # otherConstraints # [{
    Example:

    ```mlir
    moe.permute_quantize_mxfp8
      ins(%x, %map, %n : memref<?x2688xbf16>, memref<?xi32>, memref<i32>)
      outs(%data, %scale : memref<?x2688xf8E4M3FN>, memref<?xf8E8M0FNU>)
    ```

    Source: `permute_and_quantize_mxfp8` of Megatron-Core's `core.inference.moe.permute`,
    with the scale rules of `moe.quantize_mxfp8`.
  }];
  let arguments = !con(inputs,
      (ins Moe_TensorOrMemRef:$data, Moe_TensorOrMemRef:$scale), rowAttributes,
      (ins DefaultValuedAttr<Moe_ScaleLayoutAttr,
             "::mlir::moe::ScaleLayout::Swizzle32_4_4">:$scale_layout,
           DefaultValuedAttr<Moe_DeadScalesAttr,
             "::mlir::moe::DeadScales::Zero">:$dead_scales));
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = inputFormat # [{
    `outs` `(` $data `,` $scale `:` type($data) `,` type($scale) `)`
    (`dead_rows` `` $dead_rows^)? (`scale_layout` `` $scale_layout^)?
    (`dead_scales` `` $dead_scales^)?
    attr-dict (`->` type($results)^)?
  }];
}

//===----------------------------------------------------------------------===//
// The generic op
//===----------------------------------------------------------------------===//

def Moe_MapRowsOp
    : Moe_PaddingAwareOp<"map_rows", ["isIdentity", "getKernelBaseName", "getColumnPairs",
                                      "getProbs", "getDeadRows", "getGathers"],
                         [AttrSizedOperandSegments, IsolatedFromAbove, SingleBlock]> {
  let summary = "An activation of the live rows, stored in a format";
  let description = [{
    For every live row `r` (see the dialect's description) and every column `c`, the region
    computes the activation of `x[r, c]`, a bf16, from a bf16. The destinations hold the
    activations as `format` says. All other rows are untouched, and so are their scales
    unless the format clears them.

    The other ops of the dialect are this one with a certain region and format, and
    `moe-generalize` makes them so. `kernel_name` is what kernels for the op are called, by
    default `map_rows`, and are found by in what is compiled; it changes nothing else.

    With `pairs`, `x` is `[M, 2N]` and the region computes column `c` of two of its columns,
    those that `#moe.pairs` says. Which of the two is a gate, and which is not, is for the
    region to say.

    `probs` is a factor of each row, or anything else: the region gets that of its row after
    the elements. Without `permutation_map` all rows below `n_used` are live, and under
    `dead_rows<zero>` the elements of rows below it that are not live become zeros.

    With `gathers`, row `r` is computed of row `permutation_map[r]` of `x`, which is `[T, N]`
    then: rows are those of the destinations, and only those are live whose entry is below
    `T`.

    The region says what is computed, not how. Each of its ops rounds as it says, by IEEE
    754, to nearest; subnormals are kept. A lowering works on many elements at once.

    Constraints, besides C1 to C7, C10 and C11 of `moe.padded_squared_relu` and, for a
    format with scales, C8 and C9 of `moe.quantize_mxfp8`:
    - (C12) The region takes one bf16, two under `pairs`, then with `probs` an f32, and
      yields one bf16, by `moe.yield`.
    - (C13) It consists of `arith.constant` and of elementwise ops of `arith` and `math`
      without side effects, on scalars: integers and floats.
    - (C14) Under `pairs`, `x` has an even number of columns, two for each of the destination
      (C5, C8, C9 are about half of them), of which there is a multiple of the blocks that
      are `interleaved`.
    - (C18) `probs` is a vector `[M]` of f32.
    - (C19) With `gathers` there is a `permutation_map`, and `M` (C3, C5, C9, C18) is the
      number of rows of the destinations.
    - (C31) `kernel_name` consists of letters, digits and `_`, and begins with no digit.

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

    And the product of two halves of each row.

    ```mlir
    moe.map_rows
      ins(%x, %map, %n : memref<?x3712xbf16>, memref<?xi32>, memref<i32>)
      outs(%out : memref<?x1856xbf16>) pairs<halves> format(#moe.bf16) {
    ^bb0(%first: bf16, %second: bf16):
      %a = arith.mulf %first, %second : bf16
      moe.yield %a : bf16
    }
    ```
  }];
  let arguments = (ins Moe_TensorOrMemRef:$x,
                       Optional<Moe_TensorOrMemRef>:$permutation_map,
                       Moe_TensorOrMemRef:$n_used, Optional<Moe_TensorOrMemRef>:$probs,
                       Variadic<Moe_TensorOrMemRef>:$outs,
                       OptionalAttr<Moe_PairsAttr>:$pairs,
                       Moe_FormatAttrInterface:$format,
                       DefaultValuedAttr<Moe_DeadRowsAttr,
                         "::mlir::moe::DeadRows::Untouched">:$dead_rows,
                       OptionalAttr<StrAttr>:$kernel_name, UnitAttr:$gathers);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$activation);
  let assemblyFormat = [{
    `ins` `(` custom<Inputs>($x, $permutation_map, $n_used, type($x),
                             type($permutation_map), type($n_used)) `)`
    (`gathers` $gathers^)? (`probs` `(` $probs^ `:` type($probs) `)`)?
    `outs` `(` $outs `:` type($outs) `)` (`pairs` `` $pairs^)? `format` `(` $format `)`
    (`dead_rows` `` $dead_rows^)? (`kernel_name` `(` $kernel_name^ `)`)? attr-dict-with-keyword $activation
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

include "moe/IR/MoePermutationOps.td"

#endif // MOE_IR_MOEOPS
