//===- MoePermutationOps.td - Ops between tokens and rows ---*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The ops before and after the expert GEMMs that are no map over rows: which row a token
// goes to, and the sum of the rows of a token. Their constraints continue the numbers of
// MoeOps.td; test/Dialect/permutation-invalid.mlir cites them.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEPERMUTATIONOPS
#define MOE_IR_MOEPERMUTATIONOPS

include "moe/IR/MoeDialect.td"
include "moe/IR/MoeOpBase.td"

class Moe_PermutationOp<string mnemonic, list<Trait> traits = []>
    : Moe_DestinationStyleOpBase<
          Moe_Dialect, mnemonic, DeclareOpInterfaceMethods<Moe_PermutationOpInterface>,
          traits>;

def Moe_RouteTokensOp : Moe_PermutationOp<"route_tokens", [AttrSizedOperandSegments]> {
  let summary = "Count the tokens of each expert and give each a row";
  let description = [{
    `routing_map[t, k]` is the `k`-th of the experts that token `t` goes to. There are `E`
    local experts, those from `first_expert` on. The *pair* `(t, k)` is one of local expert
    `e` iff

        t < valid_tokens  and  routing_map[t, k] - first_expert == e

    for an `e` from 0 to `E - 1`; all others do not exist, whatever the map has for them.
    `valid_tokens` below 0 counts as 0 and above `T` as `T`.

        tokens_per_expert[e] = number of pairs of e
        aligned(e)           = that, rounded up to a multiple of alignment
        inclusive_offsets[e] = aligned(0) + ... + aligned(e)
        exclusive_offsets[e] = inclusive_offsets[e] - aligned(e)

    The pairs of `e`, in the order of `t` and of those of a token in the order of `k`, have
    the rows `exclusive_offsets[e]`, `exclusive_offsets[e] + 1` and so on. For the pair
    `(t, k)` in row `r`

        permutation_map[r] = t
        permuted_probs[r]  = probs[t, k]      if there are probs

    In the other rows below `inclusive_offsets[e]`, which `alignment` has added,
    `permutation_map` is -1 and `permuted_probs` untouched. For `t < valid_tokens`,
    `inverse_map[t, e]` is the row of the last pair of `t` and `e`, -1 if there is none.

    The number of rows in use, `n_used` of the other ops, is the last of
    `inclusive_offsets`. Rows past it are untouched, and so are those of `inverse_map` from
    `valid_tokens` on. If it is more than `R`, the length of `permutation_map`, rows that
    there are have what they would have, nothing is written elsewhere, the counts and offsets
    stay as they are, and `inverse_map` has -1 for rows that there are not. An `alignment`
    below 1 counts as 1.

    Constraints, besides C1, C6, C7, C10 and C11 of `moe.padded_squared_relu`:
    - (C21) `routing_map` is a matrix `[T, topk]` of i32 or i64 with `1 <= topk <= 2048`.
    - (C22) `valid_tokens` is one i32: of rank 0, or of rank 1 with one element.
    - (C23) `probs` is a matrix `[T, topk]` of f32, `permuted_probs` a vector `[R]` of f32;
      both are there or none.
    - (C24) `tokens_per_expert`, `exclusive_offsets` and `inclusive_offsets` are vectors
      `[E]` of i32 with `1 <= E <= 2048`.
    - (C25) `permutation_map` is a vector `[R]` of i32.
    - (C26) `inverse_map` is a matrix `[T, E]` of i32.
    - (C27) `T * topk + E * alignment < 2^31` and `1 <= alignment`, so that an i32 holds
      every offset.

    Example: under expert parallelism, with probabilities.

    ```mlir
    moe.route_tokens
      ins(%routing, %valid : memref<?x6xi64>, memref<i32>) probs(%probs : memref<?x6xf32>)
      first_expert(%first) alignment(%alignment)
      outs(%counts, %exclusive, %inclusive, %map, %inverse
           : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<?x16xi32>)
      permuted_probs(%row_probs : memref<?xf32>)
    ```

    Source: `compute_local_tokens_per_expert`, `compute_expert_offsets`,
    `init_permutation_map` and the bookkeeping of `permute_tokens` of Megatron-Core's
    `core.inference.moe.permute`, whose order of the rows of an expert is any; this one is
    always the same.
  }];
  let arguments = (ins Moe_TensorOrMemRef:$routing_map, Moe_TensorOrMemRef:$valid_tokens,
                       Optional<Moe_TensorOrMemRef>:$probs, I32:$first_expert,
                       I32:$alignment, Moe_TensorOrMemRef:$tokens_per_expert,
                       Moe_TensorOrMemRef:$exclusive_offsets,
                       Moe_TensorOrMemRef:$inclusive_offsets,
                       Moe_TensorOrMemRef:$permutation_map,
                       Moe_TensorOrMemRef:$inverse_map,
                       Optional<Moe_TensorOrMemRef>:$permuted_probs);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` $routing_map `,` $valid_tokens `:` type($routing_map) `,`
      type($valid_tokens) `)`
    (`probs` `(` $probs^ `:` type($probs) `)`)?
    `first_expert` `(` $first_expert `)` `alignment` `(` $alignment `)`
    `outs` `(` $tokens_per_expert `,` $exclusive_offsets `,` $inclusive_offsets `,`
      $permutation_map `,` $inverse_map `:` type($tokens_per_expert) `,`
      type($exclusive_offsets) `,` type($inclusive_offsets) `,` type($permutation_map) `,`
      type($inverse_map) `)`
    (`permuted_probs` `(` $permuted_probs^ `:` type($permuted_probs) `)`)?
    attr-dict (`->` type($results)^)?
  }];
}

def Moe_UnpermuteTokensOp : Moe_PermutationOp<"unpermute_tokens"> {
  let summary = "Sum the rows of each token, in the order of experts";
  let description = [{
    For every token `t < valid_tokens` and every column `c`

        acc = 0
        for e = 0 ... E - 1 with 0 <= inverse_map[t, e] < R:
          r = inverse_map[t, e]
          acc = f32(acc + y[r, c])
          acc = f32(acc + f32(y[r, c] * probs[r]))      if there are probs
        out[t, c] = acc

    in f32, each operation rounded to nearest, ties to even, and in this order, so that the
    bytes depend neither on how many tokens there are nor on who computes them. Subnormals
    are kept. Every NaN is stored as 0x7fffffff. Rows of `out` at or past `valid_tokens` are
    untouched. `valid_tokens` below 0 counts as 0 and above `T` as `T`.

    Constraints, besides C1, C6, C7, C10 and C11 of `moe.padded_squared_relu`:
    - (C22) `valid_tokens` is one i32: of rank 0, or of rank 1 with one element.
    - (C26) `inverse_map` is a matrix `[T, E]` of i32.
    - (C28) `y` is a matrix `[R, H]` of bf16 with `1 <= H < 2^31`.
    - (C29) `probs` is a vector `[R]` of f32.
    - (C30) `out` is a matrix `[T, H]` of f32.

    Example:

    ```mlir
    moe.unpermute_tokens
      ins(%y, %inverse, %valid : memref<?x2688xbf16>, memref<?x16xi32>, memref<i32>)
      probs(%row_probs : memref<?xf32>) outs(%out : memref<?x2688xf32>)
    ```

    Source: `unpermute_tokens` of Megatron-Core's `core.inference.moe.permute`, which adds in
    any order.
  }];
  let arguments = (ins Moe_TensorOrMemRef:$y, Moe_TensorOrMemRef:$inverse_map,
                       Moe_TensorOrMemRef:$valid_tokens,
                       Optional<Moe_TensorOrMemRef>:$probs, Moe_TensorOrMemRef:$out);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    `ins` `(` $y `,` $inverse_map `,` $valid_tokens `:` type($y) `,` type($inverse_map) `,`
      type($valid_tokens) `)`
    (`probs` `(` $probs^ `:` type($probs) `)`)?
    `outs` `(` $out `:` type($out) `)` attr-dict (`->` type($result)^)?
  }];
}

#endif // MOE_IR_MOEPERMUTATIONOPS
