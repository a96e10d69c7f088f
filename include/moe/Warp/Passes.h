//===- Passes.h - Passes into, on and out of moe_warp -----------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps of convert-moe-to-gpu, one by one.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_WARP_PASSES_H
#define MOE_WARP_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir::moe {

#define GEN_PASS_DECL
#include "moe/Warp/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "moe/Warp/Passes.h.inc"

} // namespace mlir::moe

#endif // MOE_WARP_PASSES_H
