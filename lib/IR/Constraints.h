//===- Constraints.h - What verifiers check of operands ---------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The numbered constraints that several ops have in common, by the names of operands.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_IR_CONSTRAINTS_H
#define MOE_LIB_IR_CONSTRAINTS_H

#include "moe/IR/Moe.h"

#include <optional>
#include <string>

namespace mlir::moe {

/// What breaks a constraint, in the words of an error; none if nothing does. The checks
/// return it rather than report it because folds ask them too.
using Violation = std::optional<std::string>;

std::string quote(Type type);
std::string dimToString(int64_t dim);

/// Two sizes differ for certain; dynamic ones may be anything.
bool differ(int64_t lhs, int64_t rhs);

/// (C1)
Violation checkOneKind(TypeRange types);

/// A matrix [rows, columns] of `elementType`; dynamic sizes match any. (C2, C5, C9)
Violation checkMatrix(StringRef name, ShapedType type, Type elementType, int64_t rows,
                      int64_t columns, StringRef constraint);
/// The same of a vector [size].
Violation checkVector(StringRef name, ShapedType type, Type elementType, int64_t size,
                      StringRef constraint);
/// One i32, of rank 0 or 1.
Violation checkOneI32(StringRef name, ShapedType type, StringRef constraint);

/// (C6)
Violation checkContiguousInnermost(StringRef name, ShapedType type);
/// (C11)
Violation checkExtent(StringRef name, ShapedType type);
/// (C10) `operands` are those that `op` has or would have.
Violation checkDistinctDestinations(Operation *op, ValueRange operands);
/// (C7)
Violation checkResults(DestinationStyleOpInterface op);

} // namespace mlir::moe

#endif // MOE_LIB_IR_CONSTRAINTS_H
