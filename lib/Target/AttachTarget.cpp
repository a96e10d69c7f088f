//===- AttachTarget.cpp - Attach a checked NVVM target --------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-attach-target: chip and PTX version are checked before LLVM sees them.
//
//===----------------------------------------------------------------------===//

#include "moe/Target/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "moe/Target/Chip.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEATTACHTARGET
#include "moe/Target/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

namespace {

struct AttachTargetPass : mlir::moe::impl::MoeAttachTargetBase<AttachTargetPass> {
  using MoeAttachTargetBase::MoeAttachTargetBase;

  void runOnOperation() override {
    auto emitPassError = [&] {
      // At the location, not on the op: the whole module would be printed with it.
      return emitError(getOperation().getLoc()) << getArgument() << ": ";
    };
    FailureOr<Chip> target = parseChip(chip, emitPassError);
    if (failed(target))
      return signalPassFailure();
    FailureOr<std::string> checkedFeatures =
        parseFeatures(features, *target, emitPassError);
    if (failed(checkedFeatures))
      return signalPassFailure();
    if (optLevel < 0 || optLevel > 3) {
      emitPassError() << "expected O to be from 0 to 3, found " << optLevel.getValue();
      return signalPassFailure();
    }

    auto attribute = NVVM::NVVMTargetAttr::get(
        &getContext(), optLevel, "nvptx64-nvidia-cuda", target->name, *checkedFeatures);
    for (auto module : getOperation().getOps<gpu::GPUModuleOp>()) {
      SmallVector<Attribute> targets;
      if (ArrayAttr present = module.getTargetsAttr())
        llvm::append_range(targets, present);
      if (!llvm::is_contained(targets, attribute))
        targets.push_back(attribute);
      module.setTargetsAttr(ArrayAttr::get(&getContext(), targets));
    }
  }
};

} // namespace
