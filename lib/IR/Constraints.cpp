//===- Constraints.cpp - What verifiers check of operands -----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The numbered constraints that several ops have in common.
//
//===----------------------------------------------------------------------===//

#include "Constraints.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

#include <limits>
#include <tuple>

using namespace mlir;
using namespace mlir::moe;

std::string mlir::moe::quote(Type type) { return llvm::formatv("'{0}'", type); }

std::string mlir::moe::dimToString(int64_t dim) {
  return ShapedType::isDynamic(dim) ? "?" : std::to_string(dim);
}

bool mlir::moe::differ(int64_t lhs, int64_t rhs) {
  return !ShapedType::isDynamic(lhs) && !ShapedType::isDynamic(rhs) && lhs != rhs;
}

Violation mlir::moe::checkOneKind(TypeRange types) {
  bool isTensor = isa<RankedTensorType>(types.front());
  for (Type type : types)
    if (isa<RankedTensorType>(type) != isTensor)
      return llvm::formatv("expected all operands to be tensors or all to be memrefs, "
                           "found {0} and {1} (C1)",
                           quote(types.front()), quote(type));
  return std::nullopt;
}

Violation mlir::moe::checkMatrix(StringRef name, ShapedType type, Type elementType,
                                 int64_t rows, int64_t columns, StringRef constraint) {
  if (type.getRank() == 2 && type.getElementType() == elementType &&
      !differ(type.getDimSize(0), rows) && !differ(type.getDimSize(1), columns))
    return std::nullopt;
  return llvm::formatv("expected '{0}' to be a matrix [{1}, {2}] of {3}, found {4} ({5})",
                       name, dimToString(rows), dimToString(columns), quote(elementType),
                       quote(type), constraint);
}

Violation mlir::moe::checkVector(StringRef name, ShapedType type, Type elementType,
                                 int64_t size, StringRef constraint) {
  if (type.getRank() == 1 && type.getElementType() == elementType &&
      !differ(type.getDimSize(0), size))
    return std::nullopt;
  return llvm::formatv("expected '{0}' to be a vector [{1}] of {2}, found {3} ({4})",
                       name, dimToString(size), quote(elementType), quote(type),
                       constraint);
}

Violation mlir::moe::checkOneI32(StringRef name, ShapedType type, StringRef constraint) {
  if (type.getElementType().isSignlessInteger(32) &&
      (type.getRank() == 0 || (type.getRank() == 1 && type.getDimSize(0) == 1)))
    return std::nullopt;
  return llvm::formatv("expected '{0}' to be one i32, of rank 0 or of rank 1 with one "
                       "element, found {1} ({2})",
                       name, quote(type), constraint);
}

Violation mlir::moe::checkContiguousInnermost(StringRef name, ShapedType type) {
  auto memref = dyn_cast<MemRefType>(type);
  if (!memref || memref.getRank() == 0)
    return std::nullopt;
  auto [strides, offset] = memref.getStridesAndOffset();
  if (strides.back() == 1)
    return std::nullopt;
  return llvm::formatv(
      "expected '{0}' to have an innermost stride of 1, found {1} in {2} (C6)", name,
      dimToString(strides.back()), quote(memref));
}

/// Whether the distance in bytes from where the operand's buffer begins to its end fits
/// into 63 bits, whatever the dynamic sizes are. Strides may be negative, for which it
/// runs the other way.
static bool hasAddressableExtent(ShapedType type) {
  // What is dynamic counts as 1: neither rows nor columns may be 0 where the others
  // matter.
  SmallVector<int64_t> strides(type.getRank(), 1);
  int64_t extent = 1;
  if (auto memref = dyn_cast<MemRefType>(type)) {
    int64_t offset;
    std::tie(strides, offset) = memref.getStridesAndOffset();
    if (!ShapedType::isDynamic(offset) && llvm::AddOverflow(extent, offset, extent))
      return false;
  } else {
    for (int64_t dim = type.getRank() - 1; dim > 0; --dim) {
      int64_t size = type.isDynamicDim(dim) ? 1 : type.getDimSize(dim);
      if (llvm::MulOverflow(strides[dim], size, strides[dim - 1]))
        return false;
    }
  }
  if (llvm::is_contained(type.getShape(), 0))
    return true;
  for (auto [size, stride] : llvm::zip_equal(type.getShape(), strides)) {
    if (ShapedType::isDynamic(size))
      continue;
    int64_t step = ShapedType::isDynamic(stride) ? 1 : stride;
    int64_t distance;
    if (step == std::numeric_limits<int64_t>::min() ||
        llvm::MulOverflow(size - 1, std::abs(step), distance) ||
        llvm::AddOverflow(extent, distance, extent))
      return false;
  }
  // Other elements than numbers are what other constraints are about.
  Type element = type.getElementType();
  int64_t elementBytes =
      element.isIntOrFloat() ? llvm::divideCeil(element.getIntOrFloatBitWidth(), 8) : 1;
  return !llvm::MulOverflow(extent, elementBytes, extent);
}

Violation mlir::moe::checkExtent(StringRef name, ShapedType type) {
  if (hasAddressableExtent(type))
    return std::nullopt;
  return llvm::formatv("expected '{0}' to span fewer than 2^63 bytes, found {1} (C11)",
                       name, quote(type));
}

Violation mlir::moe::checkDistinctDestinations(Operation *op, ValueRange operands) {
  if (isa<RankedTensorType>(operands.front().getType()))
    return std::nullopt;
  auto names = detail::getOperandNames(op);
  MutableOperandRange inits = cast<DestinationStyleOpInterface>(op).getDpsInitsMutable();
  for (OpOperand &init : inits) {
    unsigned number = init.getOperandNumber();
    for (unsigned other = 0; other < number; ++other)
      if (operands[other] == operands[number])
        return llvm::formatv(
            "expected '{0}' to be another buffer than '{1}', found the same value (C10)",
            names[number], names[other]);
  }
  return std::nullopt;
}

Violation mlir::moe::checkResults(DestinationStyleOpInterface op) {
  SmallVector<Type> expected;
  for (Value init : op.getDpsInits())
    if (isa<RankedTensorType>(init.getType()))
      expected.push_back(init.getType());
  if (llvm::equal(expected, op->getResultTypes()))
    return std::nullopt;
  auto join = [](TypeRange types) {
    return llvm::join(llvm::map_range(types, quote), ", ");
  };
  std::string what = expected.empty()
                         ? "no results with memrefs in 'outs'"
                         : "the types of 'outs' as results, " + join(expected);
  return "expected " + what + ", found " +
         (op->getNumResults() == 0 ? "none" : join(op->getResultTypes())) + " (C7)";
}
