//===- LegalizeNontemporalStores.cpp - Stores that caches need not keep ---===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Closes a gap of LLVM's backend for NVPTX, which forgets that a store is nontemporal.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Interfaces/DataLayoutInterfaces.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOELEGALIZENONTEMPORALSTORES
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

namespace {

/// The PTX of a store of so many bits, and the operand of it that a value is.
struct Form {
  unsigned bits;
  StringRef text, constraints;
  /// Registers, and bits of each.
  unsigned count, registerBits;
};

constexpr unsigned kGlobalSpace = 1;
constexpr Form forms[] = {
    {16, "st.global.cs.b16 [$0], $1;", "l,h,~{memory}", 1, 16},
    {32, "st.global.cs.b32 [$0], $1;", "l,r,~{memory}", 1, 32},
    {64, "st.global.cs.v2.b32 [$0], {$1, $2};", "l,r,r,~{memory}", 2, 32},
    {128, "st.global.cs.v4.b32 [$0], {$1, $2, $3, $4};", "l,r,r,r,r,~{memory}", 4, 32},
};

struct LegalizeNontemporalStoresPass
    : mlir::moe::impl::MoeLegalizeNontemporalStoresBase<LegalizeNontemporalStoresPass> {
  void runOnOperation() override {
    SmallVector<LLVM::StoreOp> stores;
    getOperation()->walk([&](LLVM::StoreOp store) {
      if (store.getNontemporal())
        stores.push_back(store);
    });
    DataLayout layout = DataLayout::closest(getOperation());
    for (LLVM::StoreOp store : stores)
      legalize(store, layout);
  }

  static void legalize(LLVM::StoreOp store, const DataLayout &layout) {
    auto pointer = cast<LLVM::LLVMPointerType>(store.getAddr().getType());
    Type type = store.getValue().getType();
    uint64_t bits = layout.getTypeSizeInBits(type);
    uint64_t aligned =
        8 * store.getAlignment().value_or(layout.getTypeABIAlignment(type));
    const Form *form =
        llvm::find_if(forms, [&](const Form &form) { return form.bits == bits; });
    // What is in more than one access, or elsewhere, stays without the hint.
    store.setNontemporal(false);
    if (form == std::end(forms) || aligned < bits ||
        pointer.getAddressSpace() != kGlobalSpace || store.getVolatile_() ||
        store.getOrdering() != LLVM::AtomicOrdering::not_atomic)
      return;
    OpBuilder b(store);
    Location loc = store.getLoc();
    Type word = b.getIntegerType(form->registerBits);
    Type words = form->count == 1 ? word : VectorType::get({form->count}, word);
    Value value = store.getValue();
    if (value.getType() != words)
      value = LLVM::BitcastOp::create(b, loc, words, value);
    SmallVector<Value> operands = {
        LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), store.getAddr())};
    for (unsigned i = 0; i < form->count; ++i) {
      if (form->count == 1) {
        operands.push_back(value);
        continue;
      }
      Value at = LLVM::ConstantOp::create(b, loc, b.getI32IntegerAttr(i));
      operands.push_back(LLVM::ExtractElementOp::create(b, loc, value, at));
    }
    LLVM::InlineAsmOp::create(
        b, loc, /*resultTypes=*/TypeRange(), operands, form->text, form->constraints,
        /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::TailCallKind::None,
        /*asm_dialect=*/LLVM::AsmDialectAttr(),
        /*operand_attrs=*/ArrayAttr());
    store.erase();
  }
};

} // namespace
