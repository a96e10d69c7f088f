//===- OwnOps.td - A padding-aware op of another dialect ----*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The dialect `own`, with a leaky relu of the live rows. What the ops of moe have, this
// one has from its base class: the verifier, folds, effects, shapes.
//
//===----------------------------------------------------------------------===//

include "mlir/IR/DialectBase.td"
include "moe/IR/MoeOpBase.td"

def Own_Dialect : Dialect {
  let name = "own";
  let cppNamespace = "::own";
  // The formats are attributes of moe.
  let dependentDialects = ["::mlir::moe::MoeDialect"];
}

def Own_PaddedLeakyReluOp : Moe_PaddingAwareOpBase<Own_Dialect, "padded_leaky_relu"> {
  let summary = "Leaky ReLU of the live rows, with a slope of 1/4 below 0";
  let arguments = (ins Moe_TensorOrMemRef:$x, Moe_TensorOrMemRef:$permutation_map,
                       Moe_TensorOrMemRef:$n_used, Moe_TensorOrMemRef:$out);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    `ins` `(` $x `,` $permutation_map `,` $n_used `:`
              type($x) `,` type($permutation_map) `,` type($n_used) `)`
    `outs` `(` $out `:` type($out) `)` attr-dict (`->` type($result)^)?
  }];
}
