//===- PermutationOps.cpp - Ops between tokens and rows -------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The operands of moe.route_tokens and moe.unpermute_tokens, and their constraints.
//
//===----------------------------------------------------------------------===//

#include "Constraints.h"

#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

/// What the constraints of all ops are about, of the operands that are not integers.
/// (C1, C6, C11)
static Violation checkBuffers(ArrayRef<StringRef> names, TypeRange types) {
  SmallVector<Type> shaped =
      llvm::filter_to_vector(types, [](Type type) { return isa<ShapedType>(type); });
  if (Violation violation = checkOneKind(shaped))
    return violation;
  for (auto check : {checkContiguousInnermost, checkExtent})
    for (auto [name, type] : llvm::zip_equal(names, types))
      if (auto shaped = dyn_cast<ShapedType>(type))
        if (Violation violation = check(name, shaped))
          return violation;
  return std::nullopt;
}

static int64_t getSize(ShapedType type, unsigned dim) {
  return dim < type.getRank() ? type.getDimSize(dim) : ShapedType::kDynamic;
}

LogicalResult mlir::moe::verifyPermutationOp(Operation *operation) {
  auto op = cast<PermutationOpInterface>(operation);
  Violation violation = op.checkOperandTypes(op->getOperandTypes());
  if (!violation)
    violation = checkDistinctDestinations(op, op->getOperands());
  if (!violation)
    violation = checkResults(cast<DestinationStyleOpInterface>(operation));
  return violation ? op->emitOpError(*violation) : success();
}

//===----------------------------------------------------------------------===//
// moe.route_tokens
//===----------------------------------------------------------------------===//

SmallVector<StringRef> RouteTokensOp::getOperandNames() {
  SmallVector<StringRef> names = {"routing_map", "valid_tokens"};
  if (getProbs())
    names.push_back("probs");
  llvm::append_range(names,
                     ArrayRef<StringRef>{"first_expert", "alignment", "tokens_per_expert",
                                         "exclusive_offsets", "inclusive_offsets",
                                         "permutation_map", "inverse_map"});
  if (getPermutedProbs())
    names.push_back("permuted_probs");
  return names;
}

unsigned RouteTokensOp::getNumInputs() { return getProbs() ? 5 : 4; }

/// Offsets that an i32 may not hold. (C27)
static Violation checkOffsets(RouteTokensOp op, ShapedType routing, ShapedType counts) {
  IntegerAttr constant;
  // What is not known counts as the least that it may be.
  int64_t alignment = 1;
  if (matchPattern(op.getAlignment(), m_Constant(&constant)))
    alignment = constant.getInt();
  if (alignment < 1)
    return llvm::formatv("expected 'alignment' to be 1 or more, found {0} (C27)",
                         alignment);
  auto atLeast = [](int64_t size, int64_t least) {
    return ShapedType::isDynamic(size) ? least : size;
  };
  int64_t pairs, padding, rows;
  if (llvm::MulOverflow(atLeast(routing.getDimSize(0), 0),
                        atLeast(routing.getDimSize(1), 1), pairs) ||
      llvm::MulOverflow(atLeast(counts.getDimSize(0), 1), alignment, padding) ||
      llvm::AddOverflow(pairs, padding, rows) || !llvm::isInt<32>(rows))
    return llvm::formatv("expected T * topk + E * alignment to be below 2^31, found {0} "
                         "and {1} with an 'alignment' of {2} (C27)",
                         quote(routing), quote(counts), alignment);
  return std::nullopt;
}

Violation RouteTokensOp::checkOperandTypes(TypeRange types) {
  if (Violation violation = checkBuffers(getOperandNames(), types))
    return violation;
  if (!getProbs() != !getPermutedProbs())
    return llvm::formatv("expected 'probs' and 'permuted_probs' or neither, found '{0}' "
                         "alone (C23)",
                         getProbs() ? "probs" : "permuted_probs");
  constexpr int64_t kAny = ShapedType::kDynamic;
  auto at = [&](unsigned index) { return cast<ShapedType>(types[index]); };
  Type i32 = IntegerType::get(getContext(), 32), f32 = Float32Type::get(getContext());
  unsigned first = getNumInputs();
  ShapedType routing = at(0), counts = at(first), map = at(first + 3);
  Type element = routing.getElementType();
  if (routing.getRank() != 2 ||
      !(element.isSignlessInteger(32) || element.isSignlessInteger(64)))
    return llvm::formatv("expected 'routing_map' to be a matrix [?, ?] of i32 or i64, "
                         "found {0} (C21)",
                         quote(routing));
  int64_t tokens = routing.getDimSize(0), topk = routing.getDimSize(1);
  if (!ShapedType::isDynamic(topk) && (topk < 1 || topk > kMaxExperts))
    return llvm::formatv(
        "expected 'routing_map' to have from 1 to {0} columns, found {1} "
        "(C21)",
        kMaxExperts, quote(routing));
  if (Violation violation = checkOneI32("valid_tokens", at(1), "C22"))
    return violation;
  if (getProbs())
    if (Violation violation = checkMatrix("probs", at(2), f32, tokens, topk, "C23"))
      return violation;
  // All of them have one size: that of the first that has one.
  int64_t experts = kAny;
  for (unsigned i : {0, 1, 2})
    if (ShapedType::isDynamic(experts))
      experts = getSize(at(first + i), 0);
  if (ShapedType::isDynamic(experts))
    experts = getSize(at(first + 4), 1);
  for (unsigned i : {0, 1, 2})
    if (Violation violation =
            checkVector(getOperandNames()[first + i], at(first + i), i32, experts, "C24"))
      return violation;
  if (!ShapedType::isDynamic(experts) && (experts < 1 || experts > kMaxExperts))
    return llvm::formatv("expected 1 to {0} experts, found {1} (C24)", kMaxExperts,
                         experts);
  int64_t rows = getSize(map, 0);
  if (ShapedType::isDynamic(rows) && getPermutedProbs())
    rows = getSize(at(first + 5), 0);
  if (Violation violation = checkVector("permutation_map", map, i32, rows, "C25"))
    return violation;
  if (Violation violation =
          checkMatrix("inverse_map", at(first + 4), i32, tokens, experts, "C26"))
    return violation;
  if (getPermutedProbs())
    if (Violation violation =
            checkVector("permuted_probs", at(first + 5), f32, rows, "C23"))
      return violation;
  return checkOffsets(*this, routing, counts);
}

//===----------------------------------------------------------------------===//
// moe.unpermute_tokens
//===----------------------------------------------------------------------===//

SmallVector<StringRef> UnpermuteTokensOp::getOperandNames() {
  SmallVector<StringRef> names = {"y", "inverse_map", "valid_tokens"};
  if (getProbs())
    names.push_back("probs");
  names.push_back("out");
  return names;
}

unsigned UnpermuteTokensOp::getNumInputs() { return getProbs() ? 4 : 3; }

Violation UnpermuteTokensOp::checkOperandTypes(TypeRange types) {
  if (Violation violation = checkBuffers(getOperandNames(), types))
    return violation;
  constexpr int64_t kAny = ShapedType::kDynamic;
  auto at = [&](unsigned index) { return cast<ShapedType>(types[index]); };
  ShapedType y = at(0), inverse = at(1), out = at(types.size() - 1);
  Type f32 = Float32Type::get(getContext());
  if (Violation violation =
          checkMatrix("y", y, BFloat16Type::get(getContext()), kAny, kAny, "C28"))
    return violation;
  if (!y.isDynamicDim(1) && (y.getDimSize(1) < 1 || !llvm::isInt<32>(y.getDimSize(1))))
    return llvm::formatv(
        "expected 'y' to have from 1 to 2^31 - 1 columns, found {0} (C28)", quote(y));
  if (Violation violation =
          checkMatrix("inverse_map", inverse, IntegerType::get(getContext(), 32),
                      getSize(out, 0), kAny, "C26"))
    return violation;
  if (Violation violation = checkOneI32("valid_tokens", at(2), "C22"))
    return violation;
  if (getProbs())
    if (Violation violation = checkVector("probs", at(3), f32, y.getDimSize(0), "C29"))
      return violation;
  return checkMatrix("out", out, f32, inverse.getDimSize(0), y.getDimSize(1), "C30");
}
