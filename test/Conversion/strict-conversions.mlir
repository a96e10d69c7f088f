// moe-strict-conversions: a conversion to bf16 and back rounds, also what emulation made.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s \
// RUN:   --arith-emulate-unsupported-floats="source-types=bf16 target-type=f32" \
// RUN:   --moe-strict-conversions --canonicalize | FileCheck %s

// CHECK-LABEL: func.func @chain(
// CHECK: %[[SUM:.*]] = arith.addf
// CHECK: %[[ROUNDED:.*]] = arith.truncf %[[SUM]] fastmath<none> : f32 to bf16
// CHECK: %[[WIDE:.*]] = arith.extf %[[ROUNDED]] fastmath<none> : bf16 to f32
// CHECK: arith.subf %[[WIDE]],
func.func @chain(%a: bf16, %b: bf16) -> bf16 {
  %0 = arith.addf %a, %b : bf16
  %1 = arith.subf %0, %a : bf16
  return %1 : bf16
}

// Other flags are none of its business.
// CHECK-LABEL: func.func @flags(
// CHECK: arith.truncf %{{.*}} fastmath<nnan> : f32 to bf16
// CHECK: arith.mulf %{{.*}} fastmath<contract> : f32
func.func @flags(%a: f32) -> (bf16, f32) {
  %0 = arith.truncf %a fastmath<nnan,contract> : f32 to bf16
  %1 = arith.mulf %a, %a fastmath<contract> : f32
  return %0, %1 : bf16, f32
}
