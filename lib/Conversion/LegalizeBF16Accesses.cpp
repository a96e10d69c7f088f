//===- LegalizeBF16Accesses.cpp - bf16 in memory for a CPU ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Keeps LLVM from seeing bf16 where only bits are meant.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOELEGALIZEBF16ACCESSES
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

/// The integers that a vector of bf16 is in memory, null for any other type.
static VectorType getBitsType(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  if (!vector || !vector.getElementType().isBF16())
    return VectorType();
  return vector.clone(IntegerType::get(type.getContext(), 16));
}

namespace {

struct LegalizeBF16AccessesPass
    : mlir::moe::impl::MoeLegalizeBF16AccessesBase<LegalizeBF16AccessesPass> {
  void runOnOperation() override {
    getOperation()->walk([](Operation *op) {
      OpBuilder b(op);
      if (auto load = dyn_cast<LLVM::LoadOp>(op)) {
        Type type = load.getType();
        VectorType bitsType = getBitsType(type);
        if (!bitsType)
          return;
        load.getResult().setType(bitsType);
        b.setInsertionPointAfter(load);
        auto elements = LLVM::BitcastOp::create(b, load.getLoc(), type, load);
        load.getResult().replaceAllUsesExcept(elements, elements);
      } else if (auto store = dyn_cast<LLVM::StoreOp>(op)) {
        if (VectorType bitsType = getBitsType(store.getValue().getType()))
          store.getValueMutable().assign(
              LLVM::BitcastOp::create(b, store.getLoc(), bitsType, store.getValue()));
      }
    });
  }
};

} // namespace
