//===- Moe.h - The moe dialect ----------------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The moe dialect: its ops, attributes and interfaces.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOE_H
#define MOE_IR_MOE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypeInterfaces.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::moe {

/// Columns that share one scale.
inline constexpr int64_t kGroupSize = 32;

/// The scale tile of `swizzle_32_4_4`.
inline constexpr int64_t kScaleTileRows = 128;
inline constexpr int64_t kScaleTileColumns = 4;
inline constexpr int64_t kScaleTileBytes = kScaleTileRows * kScaleTileColumns;

/// Number of elements of a `swizzle_32_4_4` scale buffer for an [rows, columns] matrix.
int64_t getSwizzledScaleSize(int64_t rows, int64_t columns);

} // namespace mlir::moe

#include "moe/IR/MoeOpsDialect.h.inc"

#include "moe/IR/MoeEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "moe/IR/MoeAttrs.h.inc"

#include "moe/IR/MoeInterfaces.h.inc"

#define GET_OP_CLASSES
#include "moe/IR/MoeOps.h.inc"

namespace mlir::moe {

/// Which constraint `op` would break if its operands had `types`, as the verifier says it;
/// nothing if it would be valid. For a rewrite that puts other operands in their place.
std::optional<std::string> checkOperandTypes(PaddingAwareOpInterface op, TypeRange types);

} // namespace mlir::moe

#endif // MOE_IR_MOE_H
