//===- WarpLowerings.h - Into and out of moe_warp ---------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps from a padding-aware op to a kernel for one lane, as functions: each is a
// pass of its own, and convert-moe-to-gpu is all of them.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_WARPLOWERINGS_H
#define MOE_LIB_CONVERSION_WARPLOWERINGS_H

#include "../Launch/KernelDescription.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

/// The gpu.module that the kernels for a module's ops go to.
class KernelModule {
public:
  explicit KernelModule(ModuleOp module) : module(module) {}
  /// It is made for the first of them.
  gpu::GPUModuleOp get();
  /// When all kernels are in it.
  void finish();

private:
  ModuleOp module;
  gpu::GPUModuleOp kernelModule;
};

/// Of `schedules` the first whose needs hold: a launch if that is known now, else
/// launches under conditions. `buildLaunch` is told whether its schedule is the first of
/// those that there may be a launch with.
LogicalResult buildFirstLaunch(
    ImplicitLocOpBuilder &b, Operation *op, ArrayRef<Schedule> schedules,
    function_ref<::moe::launch::KernelDescription(const Schedule &)> describe,
    function_ref<LogicalResult(const Schedule &, bool)> buildLaunch);

/// Ops that are no map over rows to launches, and kernels for lanes.
LogicalResult lowerPermutationOps(ArrayRef<PermutationOpInterface> ops,
                                  KernelModule &kernels);

/// Whether `value` is what lanes have of the columns of a row: [steps, elements].
inline bool isFragment(Value value) {
  auto type = dyn_cast<VectorType>(value.getType());
  return type && type.getRank() == 2 && !type.isScalable();
}

/// Builds the body of a kernel for `op`, whose operands are `arguments` in the kernel, in
/// moe_warp: its rows one by one.
void buildWarpKernel(ImplicitLocOpBuilder &b, MapRowsOp op, ValueRange arguments,
                     const Schedule &schedule);

/// The ops of a module to launches, and kernels in moe_warp. `passName` is for errors.
LogicalResult lowerMoeOpsToWarp(ModuleOp module, StringRef passName);

/// Rewrites a kernel in moe_warp as its schedule says: rows by quads, early loads.
LogicalResult scheduleRows(gpu::GPUFuncOp kernel);
/// Those below `root`.
LogicalResult scheduleRowsIn(Operation *root);

/// The moe_warp ops of a kernel, which has a known_block_size, to code for one lane.
void lowerWarpOps(gpu::GPUFuncOp kernel);
/// Those of all kernels below `root`.
LogicalResult lowerWarpOpsIn(Operation *root);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_WARPLOWERINGS_H
