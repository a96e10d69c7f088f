//===- PermutationKernels.h - Kernels of tokens and rows --------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The bodies of kernels that are no map over rows, as code for one lane, and what they
// share.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_PERMUTATIONTOGPU_PERMUTATIONKERNELS_H
#define MOE_LIB_CONVERSION_PERMUTATIONTOGPU_PERMUTATIONKERNELS_H

#include "../WarpToGPU/Building.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "moe/IR/Moe.h"
#include "moe/IR/Schedule.h"

namespace mlir::moe {

/// The body of `kernel`, whose arguments are the operands of `op`.
void buildRouteKernel(ImplicitLocOpBuilder &b, RouteTokensOp op, gpu::GPUFuncOp kernel,
                      const Schedule &schedule);
/// The same with the kernel that is launched in clusters.
void buildRouteClusterKernel(ImplicitLocOpBuilder &b, RouteTokensOp op,
                             gpu::GPUFuncOp kernel, const Schedule &schedule);
void buildUnpermuteKernel(ImplicitLocOpBuilder &b, UnpermuteTokensOp op,
                          gpu::GPUFuncOp kernel, const Schedule &schedule);

namespace lanes {

/// `buffer` in global memory.
Value toGlobal(ImplicitLocOpBuilder &b, Value buffer);

/// A buffer of `size` elements in the shared memory of a CTA of `kernel`.
Value addSharedBuffer(ImplicitLocOpBuilder &b, gpu::GPUFuncOp kernel, Type element,
                      int64_t size);
/// buffer[at] = max(buffer[at], value) and buffer[at] += value of a shared buffer of i32,
/// as one access, which orders no other.
void buildAtomicMax(ImplicitLocOpBuilder &b, Value buffer, Value at, Value value);
void buildAtomicAdd(ImplicitLocOpBuilder &b, Value buffer, Value at, Value value);

/// buffer[at] = max(buffer[at], value) of a buffer of i32 in global memory, the same.
void buildGlobalMax(ImplicitLocOpBuilder &b, Value buffer, ValueRange at, Value value);

/// Waits for all threads of the CTA, and for what they have written.
void buildBarrier(ImplicitLocOpBuilder &b);

/// buffer[at] of the i32 that CTA `rank` of the cluster has in shared memory, where this
/// one has `buffer`.
Value buildClusterLoad(ImplicitLocOpBuilder &b, Value buffer, Value at, Value rank);
/// Says that the thread has come so far, and waits for all threads of the cluster to have
/// said so, and for what they had written. `isRelaxed`: not for that, for which a thread
/// waits until its stores to global memory have arrived too.
void buildClusterArrive(ImplicitLocOpBuilder &b, bool isRelaxed = false);
void buildClusterWait(ImplicitLocOpBuilder &b);

/// The sum of the lanes' i32.
Value buildWarpSum(ImplicitLocOpBuilder &b, Value word);
/// How many bits of an i32 are set.
Value buildBitCount(ImplicitLocOpBuilder &b, Value word);
/// A bit for each lane whose i32 is the same.
Value buildMatch(ImplicitLocOpBuilder &b, Value word);
/// Those of the lanes before `lane`.
Value buildLanesBefore(ImplicitLocOpBuilder &b, Value lane);

/// lhs < rhs of unsigned i32.
Value buildBelow(ImplicitLocOpBuilder &b, Value lhs, Value rhs);

/// The size of a buffer as an i32, at most 2^31 - 1.
Value buildSize(ImplicitLocOpBuilder &b, Value buffer, int64_t dim);

/// valid_tokens as an i32 from 0 to `tokens`.
Value buildValidTokens(ImplicitLocOpBuilder &b, Value loaded, Value tokens);

/// The local expert of an entry of routing_map, an i32, and whether it is one.
std::pair<Value, Value> buildLocalExpert(ImplicitLocOpBuilder &b, Value entry,
                                         Value firstExpert, Value experts);
/// `count` rounded up to a multiple of `alignment`.
Value buildAligned(ImplicitLocOpBuilder &b, Value count, Value alignment);

/// A loop over i32 from `begin`, as long as it is below `end`.
void buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, Value step,
               function_ref<void(Value)> body);
SmallVector<Value> buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, Value step,
                             ArrayRef<Value> init,
                             function_ref<SmallVector<Value>(Value, ValueRange)> body);

/// What `then` gives under `condition`, else what `otherwise` gives.
SmallVector<Value> buildIfElse(ImplicitLocOpBuilder &b, Value condition, TypeRange types,
                               function_ref<SmallVector<Value>()> then,
                               function_ref<SmallVector<Value>()> otherwise);

} // namespace lanes

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_PERMUTATIONTOGPU_PERMUTATIONKERNELS_H
