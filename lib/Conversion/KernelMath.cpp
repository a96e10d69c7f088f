//===- KernelMath.cpp - math that a GPU has instructions for --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-convert-kernel-math: of the math dialect, what LLVM's NVPTX target can select.
// convert-gpu-to-nvvm makes library calls of all float functions, also of those that are
// one instruction; convert-math-to-llvm makes intrinsics of all, on which LLVM aborts.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Transforms/DialectConversion.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOECONVERTKERNELMATH
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

namespace {

struct ConvertKernelMathPass
    : moe::impl::MoeConvertKernelMathBase<ConvertKernelMathPass> {
  void runOnOperation() override {
    LLVMTypeConverter converter(&getContext());
    RewritePatternSet patterns(&getContext());
    populateMathToLLVMConversionPatterns(converter, patterns);
    ConversionTarget target(getContext());
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    target.addLegalDialect<LLVM::LLVMDialect>();
    target.addDynamicallyLegalOp<
        math::AbsFOp, math::AbsIOp, math::CeilOp, math::CopySignOp,
        math::CountLeadingZerosOp, math::CountTrailingZerosOp, math::CtPopOp,
        math::FloorOp, math::FmaOp, math::IsFiniteOp, math::IsInfOp, math::IsNaNOp,
        math::IsNormalOp, math::RoundEvenOp, math::RoundOp, math::RsqrtOp, math::SqrtOp,
        math::TruncOp>([&](Operation *op) {
      // Types that have no conversion stay, and are reported in the end.
      return !converter.isLegal(op->getOperandTypes());
    });
    if (failed(applyPartialConversion(getOperation(), target, std::move(patterns))))
      return signalPassFailure();
    getOperation()->walk([](Operation *op) {
      if (isa<LLVM::CopySignOp, LLVM::FAbsOp, LLVM::FCeilOp, LLVM::FFloorOp,
              LLVM::FTruncOp, LLVM::RoundEvenOp, LLVM::RoundOp, LLVM::SqrtOp>(op))
        hide(op);
    });
  }

  /// convert-gpu-to-nvvm refuses ops of intrinsics for which it calls libdevice. It does
  /// not see them in a call by name.
  static void hide(Operation *op) {
    OpBuilder b(op);
    std::string name = ("llvm." + op->getName().getStringRef().rsplit('.').second).str();
    auto call = LLVM::CallIntrinsicOp::create(b, op->getLoc(), op->getResult(0).getType(),
                                              b.getStringAttr(name), op->getOperands());
    op->replaceAllUsesWith(call);
    op->erase();
  }
};

} // namespace
