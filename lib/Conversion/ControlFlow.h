//===- ControlFlow.h - Branches of the emitted code -------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// scf ops with bodies from callbacks, for both lowerings.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_CONTROLFLOW_H
#define MOE_LIB_CONVERSION_CONTROLFLOW_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// scf.if, without an else if `otherwise` is null.
void buildIf(ImplicitLocOpBuilder &b, Value condition, function_ref<void()> then,
             function_ref<void()> otherwise = nullptr);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_CONTROLFLOW_H
