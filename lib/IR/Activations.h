//===- Activations.h - The arithmetic of the activations --------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the named ops compute of one element, or of a vector of them: bf16 in, the same
// type out. Once for every target and every format.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_IR_ACTIVATIONS_H
#define MOE_LIB_IR_ACTIVATIONS_H

#include "mlir/IR/Builders.h"

namespace mlir::moe {

/// relu(v)^2 in bf16.
Value buildSquaredRelu(OpBuilder &builder, Location loc, Value elements);

} // namespace mlir::moe

#endif // MOE_LIB_IR_ACTIVATIONS_H
