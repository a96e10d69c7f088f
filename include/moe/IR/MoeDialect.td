//===- MoeDialect.td - The moe dialect ----------------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The dialect itself. Its ops are in MoeOps.td, its attributes in MoeAttrs.td.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOEDIALECT
#define MOE_IR_MOEDIALECT

include "mlir/IR/DialectBase.td"

def Moe_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::mlir::moe";
  let summary = "Padding-aware ops between the expert GEMMs of a mixture of experts";
  let description = [{
    A mixture-of-experts layer runs FC1, an activation and FC2 for each expert. The
    rows of FC1's output are grouped by expert, and each group is padded up to the
    alignment that the GEMM wants. The ops of this dialect are what stands between
    the two GEMMs: they compute on the rows that hold tokens and leave the others
    alone.

    ### Live rows

    Every op reads `x` (`[M, N]` bf16), `permutation_map` (`[M]` i32) and `n_used`
    (one i32 in device memory). Row `r` is **live** iff

        r < n_used  and  permutation_map[r] >= 0

    `n_used` below 0 counts as 0 and above `M` as `M`. Entries of `permutation_map`
    at or past `n_used` decide nothing; they may be read, but never change a result.
    `M` is a capacity: it stays the same from step to step, while `n_used` and
    `permutation_map` change in device memory without the host knowing. A lowering
    to a GPU must therefore launch a grid that depends on nothing but shapes.

    Who knows how many rows will be live, roughly, may say so by the attribute
    `moe.expected_rows`, a positive i64 on the op: the grid suits it then, few CTAs for few
    rows. No result depends on it.

    Two ops, and `moe.map_rows` with `gathers`, read the row of `x` that the map names, in
    front of FC1: `x` is `[T, N]` then, and row `r` is live iff

        r < n_used  and  0 <= permutation_map[r] < T

    ### Destination style

    The ops take their destinations as `outs` and work on ranked tensors and on
    memrefs. A row of a destination that is not live is *untouched*: on memrefs it is
    not written, on tensors the result has the value that `outs` had. Operands in
    memory must not overlap, except that two inputs may. Sizes that are known only when
    the program runs have to fit like static ones; on tensors, where the ops are pure, the
    results are undefined if they do not.

    ### Block-scaled data

    The quantising ops write OCP Microscaling (MX) v1.0 MXFP8: E4M3 elements with one
    E8M0 scale for each group of 32 consecutive columns. For each live row and group

    1. `a[c]` is the activation of `x[r, c]`, rounded to bf16,
    2. `m` is the greatest magnitude of the group's `a[c]`, NaN treated as missing
       (0 if there is nothing else),
    3. the biased exponent `e` of the scale is rounded up to a power of two (RCEIL,
       `m` maps to at most 448): 0 if `m` is 0, 255 (the E8M0 NaN) if `m` is
       infinite, and otherwise `max(1, 127 + ceil(log2(m / 448)))`, exactly,
    4. `data[r, c]` is `a[c] * 2^(127 - e)` rounded to the nearest E4M3 value, ties to
       even. The sign is kept, also of a zero. NaN elements, and infinities under
       `e == 255`, give 0x7f, which is the only NaN encoding written. No finite value
       saturates.

    See the `scale_layout` and `dead_scales` attributes for where the exponents go.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
}

#endif // MOE_IR_MOEDIALECT
