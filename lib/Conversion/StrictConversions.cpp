//===- StrictConversions.cpp - Conversions that round ---------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-strict-conversions: what stands between two emulated ops stays, and what is rounded
// to bf16 is rounded once.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/TypeUtilities.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOESTRICTCONVERSIONS
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

/// The value of an f64, rounded to odd, as f32: toward zero, and with the last bit set if
/// that was not exact. To round it again to 16 bits is then as good as to round once.
static Value buildRoundedToOdd(ImplicitLocOpBuilder &b, Value value) {
  auto like = [&](Type elementType) -> Type {
    auto vector = dyn_cast<VectorType>(value.getType());
    return vector ? Type(vector.clone(elementType)) : elementType;
  };
  Type f32 = like(b.getF32Type()), i32 = like(b.getI32Type());
  Type f64 = value.getType(), i64 = like(b.getI64Type());
  auto constant = [&](Type type, int64_t bits) -> Value {
    TypedAttr attr = b.getIntegerAttr(getElementTypeOrSelf(type), bits);
    if (auto vector = dyn_cast<VectorType>(type))
      attr = DenseElementsAttr::get(vector, Attribute(attr));
    return arith::ConstantOp::create(b, attr);
  };
  Value narrow = arith::TruncFOp::create(b, f32, value);
  Value back = arith::ExtFOp::create(b, f64, narrow);
  Value magnitudes[2] = {back, value};
  for (Value &magnitude : magnitudes)
    magnitude = arith::AndIOp::create(b, arith::BitcastOp::create(b, i64, magnitude),
                                      constant(i64, 0x7fffffffffffffff));
  Value isAbove = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT,
                                        arith::BitcastOp::create(b, f64, magnitudes[0]),
                                        arith::BitcastOp::create(b, f64, magnitudes[1]));
  Value isInexact = arith::CmpFOp::create(b, arith::CmpFPredicate::ONE, back, value);
  Value bits = arith::BitcastOp::create(b, i32, narrow);
  bits = arith::SubIOp::create(b, bits, arith::ExtUIOp::create(b, i32, isAbove));
  bits = arith::OrIOp::create(b, bits, arith::ExtUIOp::create(b, i32, isInexact));
  return arith::BitcastOp::create(b, f32, bits);
}

namespace {

struct StrictConversionsPass
    : mlir::moe::impl::MoeStrictConversionsBase<StrictConversionsPass> {
  void runOnOperation() override {
    getOperation()->walk([](arith::TruncFOp op) {
      if (!getElementTypeOrSelf(op.getIn().getType()).isF64() ||
          !getElementTypeOrSelf(op.getType()).isBF16() || op.getRoundingmodeAttr())
        return;
      ImplicitLocOpBuilder b(op.getLoc(), op);
      op.getInMutable().assign(buildRoundedToOdd(b, op.getIn()));
    });
    getOperation()->walk([](Operation *op) {
      auto flagged = dyn_cast<arith::ArithFastMathInterface>(op);
      if (!flagged || !isa<arith::ExtFOp, arith::TruncFOp>(op))
        return;
      arith::FastMathFlagsAttr attribute = flagged.getFastMathFlagsAttr();
      if (!attribute)
        return;
      arith::FastMathFlags flags = attribute.getValue();
      op->setAttr(flagged.getFastMathAttrName(),
                  arith::FastMathFlagsAttr::get(op->getContext(),
                                                flags & ~arith::FastMathFlags::contract));
    });
  }
};

} // namespace
