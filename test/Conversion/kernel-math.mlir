// What a GPU has fewer instructions for, where it is proven that no bit changes.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -pass-pipeline="builtin.module(gpu.module(moe-convert-kernel-math))" | FileCheck %s

gpu.module @kernels {
// 1 + |x| with x from -2 to 2. The condition goes too.
// CHECK-LABEL: func @reciprocal
// CHECK-SAME: %[[X:.*]]: f32)
// CHECK: %[[D:.*]] = arith.addf
// CHECK-NOT: arith.cmpf
// CHECK: %[[Y:.*]] = nvvm.rcp.approx.ftz.f %[[D]] : f32
// CHECK: %[[MINUS:.*]] = arith.negf %[[D]]
// CHECK: %[[H:.*]] = llvm.intr.fma(%[[MINUS]], %[[Y]], %{{.*}})
// CHECK: %[[R:.*]] = llvm.intr.fma(%[[H]], %[[Y]], %[[Y]])
// CHECK-NOT: arith.divf
// CHECK-NOT: arith.select
// CHECK: return %[[R]]
func.func @reciprocal(%x: f32) -> f32 {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %two = arith.constant 2.0 : f32
  %limit = arith.constant 0x7E800000 : f32
  %a = arith.maxnumf %x, %one : f32
  %b = arith.minnumf %a, %two : f32
  %d = arith.addf %one, %b : f32
  %q = arith.divf %one, %d : f32
  %huge = arith.cmpf ogt, %d, %limit : f32
  %r = arith.select %huge, %zero, %q : f32
  return %r : f32
}

// Every element of a vector.
// CHECK-LABEL: func @vector
// CHECK-COUNT-2: nvvm.rcp.approx.ftz.f
// CHECK: llvm.intr.fma{{.*}} -> vector<2xf32>
// CHECK-NOT: arith.divf
func.func @vector(%x: vector<2xf32>) -> vector<2xf32> {
  %zero = arith.constant dense<0.0> : vector<2xf32>
  %one = arith.constant dense<1.0> : vector<2xf32>
  %two = arith.constant dense<2.0> : vector<2xf32>
  %limit = arith.constant dense<0x7E800000> : vector<2xf32>
  %a = arith.maxnumf %x, %one : vector<2xf32>
  %b = arith.minnumf %a, %two : vector<2xf32>
  %q = arith.divf %one, %b : vector<2xf32>
  %huge = arith.cmpf ogt, %b, %limit : vector<2xf32>
  %r = arith.select %huge, %zero, %q : vector<2xi1>, vector<2xf32>
  return %r : vector<2xf32>
}

// NaN, infinity, or what is below 1 may be among them.
// CHECK-LABEL: func @unknown
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
// CHECK: arith.select
func.func @unknown(%d: f32) -> f32 {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %limit = arith.constant 0x7E800000 : f32
  %q = arith.divf %one, %d : f32
  %huge = arith.cmpf ogt, %d, %limit : f32
  %r = arith.select %huge, %zero, %q : f32
  return %r : f32
}

// CHECK-LABEL: func @infinity
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @infinity(%x: f32) -> f32 {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %limit = arith.constant 0x7E800000 : f32
  %d = arith.maxnumf %x, %one : f32
  %q = arith.divf %one, %d : f32
  %huge = arith.cmpf ogt, %d, %limit : f32
  %r = arith.select %huge, %zero, %q : f32
  return %r : f32
}

// maximumf lets a NaN through.
// CHECK-LABEL: func @nan
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @nan(%x: f32) -> f32 {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %two = arith.constant 2.0 : f32
  %limit = arith.constant 0x7E800000 : f32
  %a = arith.maximumf %x, %one : f32
  %d = arith.minimumf %a, %two : f32
  %q = arith.divf %one, %d : f32
  %huge = arith.cmpf ogt, %d, %limit : f32
  %r = arith.select %huge, %zero, %q : f32
  return %r : f32
}

// From one half on.
// CHECK-LABEL: func @below_one
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @below_one(%x: f32) -> f32 {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %half = arith.constant 0.5 : f32
  %two = arith.constant 2.0 : f32
  %limit = arith.constant 0x7E800000 : f32
  %a = arith.maxnumf %x, %half : f32
  %d = arith.minnumf %a, %two : f32
  %q = arith.divf %one, %d : f32
  %huge = arith.cmpf ogt, %d, %limit : f32
  %r = arith.select %huge, %zero, %q : f32
  return %r : f32
}

// A division without the condition, whose divisor is 2^(n + f) + 1 and at least 1: as
// k + k * f * q, k a power of two, that it is so is not seen of the sum's parts.
// CHECK-LABEL: func @tanh
// CHECK: nvvm.rcp.approx.ftz.f
// CHECK-NOT: arith.divf
// CHECK: return
func.func @tanh(%x: bf16) -> f32 {
  %zero = arith.constant 0.0 : bf16
  %scale = arith.constant 0.0625 : f32
  %most = arith.constant 20.0 : f32
  %high = arith.constant 0x3FB8AA00 : f32
  %low = arith.constant 0x36ECA570 : f32
  %magic = arith.constant 12582912.0 : f32
  %c2 = arith.constant 0.24 : f32
  %c1 = arith.constant 0.69 : f32
  %one = arith.constant 1.0 : f32
  %c = arith.constant 1.0 : f32
  %more = arith.constant 2.0 : f32
  %shift = arith.constant 23 : i32
  %relu = arith.maxnumf %x, %zero : bf16
  %wide = arith.extf %relu : bf16 to f32
  %v = arith.mulf %wide, %scale : f32
  %twice = arith.addf %v, %v : f32
  %a = arith.minnumf %twice, %most : f32
  %z = math.fma %a, %high, %magic : f32
  %minus_n = arith.subf %magic, %z : f32
  %rest = math.fma %a, %high, %minus_n : f32
  %f = math.fma %a, %low, %rest : f32
  %q = math.fma %c2, %f, %c1 : f32
  %z_bits = arith.bitcast %z : f32 to i32
  %exponent = arith.shli %z_bits, %shift : i32
  %one_bits = arith.bitcast %one : f32 to i32
  %k_bits = arith.addi %one_bits, %exponent : i32
  %k = arith.bitcast %k_bits : i32 to f32
  %less = arith.subf %k, %c : f32
  %fk = arith.mulf %f, %k : f32
  %m = math.fma %fk, %q, %less : f32
  %d = arith.addf %m, %more : f32
  %r = arith.divf %one, %d : f32
  return %r : f32
}

// It is at least 0.585 - 1 + 1.375, for all that is known of q.
// CHECK-LABEL: func @divisor_below_one
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @divisor_below_one(%x: bf16) -> f32 {
  %zero = arith.constant 0.0 : bf16
  %scale = arith.constant 0.0625 : f32
  %most = arith.constant 20.0 : f32
  %high = arith.constant 0x3FB8AA00 : f32
  %low = arith.constant 0x36ECA570 : f32
  %magic = arith.constant 12582912.0 : f32
  %c2 = arith.constant 0.24 : f32
  %c1 = arith.constant 0.69 : f32
  %one = arith.constant 1.0 : f32
  %c = arith.constant 1.0 : f32
  %more = arith.constant 1.375 : f32
  %shift = arith.constant 23 : i32
  %relu = arith.maxnumf %x, %zero : bf16
  %wide = arith.extf %relu : bf16 to f32
  %v = arith.mulf %wide, %scale : f32
  %twice = arith.addf %v, %v : f32
  %a = arith.minnumf %twice, %most : f32
  %z = math.fma %a, %high, %magic : f32
  %minus_n = arith.subf %magic, %z : f32
  %rest = math.fma %a, %high, %minus_n : f32
  %f = math.fma %a, %low, %rest : f32
  %q = math.fma %c2, %f, %c1 : f32
  %z_bits = arith.bitcast %z : f32 to i32
  %exponent = arith.shli %z_bits, %shift : i32
  %one_bits = arith.bitcast %one : f32 to i32
  %k_bits = arith.addi %one_bits, %exponent : i32
  %k = arith.bitcast %k_bits : i32 to f32
  %less = arith.subf %k, %c : f32
  %fk = arith.mulf %f, %k : f32
  %m = math.fma %fk, %q, %less : f32
  %d = arith.addf %m, %more : f32
  %r = arith.divf %one, %d : f32
  return %r : f32
}

// k * f * q - 3 + 2 may be negative.
// CHECK-LABEL: func @less_than_known
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @less_than_known(%x: bf16) -> f32 {
  %zero = arith.constant 0.0 : bf16
  %scale = arith.constant 0.0625 : f32
  %most = arith.constant 20.0 : f32
  %high = arith.constant 0x3FB8AA00 : f32
  %low = arith.constant 0x36ECA570 : f32
  %magic = arith.constant 12582912.0 : f32
  %c2 = arith.constant 0.24 : f32
  %c1 = arith.constant 0.69 : f32
  %one = arith.constant 1.0 : f32
  %c = arith.constant 3.0 : f32
  %more = arith.constant 2.0 : f32
  %shift = arith.constant 23 : i32
  %relu = arith.maxnumf %x, %zero : bf16
  %wide = arith.extf %relu : bf16 to f32
  %v = arith.mulf %wide, %scale : f32
  %twice = arith.addf %v, %v : f32
  %a = arith.minnumf %twice, %most : f32
  %z = math.fma %a, %high, %magic : f32
  %minus_n = arith.subf %magic, %z : f32
  %rest = math.fma %a, %high, %minus_n : f32
  %f = math.fma %a, %low, %rest : f32
  %q = math.fma %c2, %f, %c1 : f32
  %z_bits = arith.bitcast %z : f32 to i32
  %exponent = arith.shli %z_bits, %shift : i32
  %one_bits = arith.bitcast %one : f32 to i32
  %k_bits = arith.addi %one_bits, %exponent : i32
  %k = arith.bitcast %k_bits : i32 to f32
  %less = arith.subf %k, %c : f32
  %fk = arith.mulf %f, %k : f32
  %m = math.fma %fk, %q, %less : f32
  %d = arith.addf %m, %more : f32
  %r = arith.divf %one, %d : f32
  return %r : f32
}

// maximumf lets a NaN through, and 0 times infinity is one.
// CHECK-LABEL: func @tanh_of_nan
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @tanh_of_nan(%x: bf16) -> f32 {
  %zero = arith.constant 0.0 : bf16
  %scale = arith.constant 0.0625 : f32
  %most = arith.constant 20.0 : f32
  %high = arith.constant 0x3FB8AA00 : f32
  %low = arith.constant 0x36ECA570 : f32
  %magic = arith.constant 12582912.0 : f32
  %c2 = arith.constant 0.24 : f32
  %c1 = arith.constant 0.69 : f32
  %one = arith.constant 1.0 : f32
  %c = arith.constant 1.0 : f32
  %more = arith.constant 2.0 : f32
  %shift = arith.constant 23 : i32
  %relu = arith.maximumf %x, %zero : bf16
  %wide = arith.extf %relu : bf16 to f32
  %v = arith.mulf %wide, %scale : f32
  %twice = arith.addf %v, %v : f32
  %a = arith.minnumf %twice, %most : f32
  %z = math.fma %a, %high, %magic : f32
  %minus_n = arith.subf %magic, %z : f32
  %rest = math.fma %a, %high, %minus_n : f32
  %f = math.fma %a, %low, %rest : f32
  %q = math.fma %c2, %f, %c1 : f32
  %z_bits = arith.bitcast %z : f32 to i32
  %exponent = arith.shli %z_bits, %shift : i32
  %one_bits = arith.bitcast %one : f32 to i32
  %k_bits = arith.addi %one_bits, %exponent : i32
  %k = arith.bitcast %k_bits : i32 to f32
  %less = arith.subf %k, %c : f32
  %fk = arith.mulf %f, %k : f32
  %m = math.fma %fk, %q, %less : f32
  %d = arith.addf %m, %more : f32
  %r = arith.divf %one, %d : f32
  return %r : f32
}

// CHECK-LABEL: func @zero_times_infinity
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @zero_times_infinity(%x: bf16) -> f32 {
  %zero = arith.constant 0.0 : bf16
  %scale = arith.constant 0.0 : f32
  %most = arith.constant 20.0 : f32
  %high = arith.constant 0x3FB8AA00 : f32
  %low = arith.constant 0x36ECA570 : f32
  %magic = arith.constant 12582912.0 : f32
  %c2 = arith.constant 0.24 : f32
  %c1 = arith.constant 0.69 : f32
  %one = arith.constant 1.0 : f32
  %c = arith.constant 1.0 : f32
  %more = arith.constant 2.0 : f32
  %shift = arith.constant 23 : i32
  %relu = arith.maxnumf %x, %zero : bf16
  %wide = arith.extf %relu : bf16 to f32
  %v = arith.mulf %wide, %scale : f32
  %twice = arith.addf %v, %v : f32
  %a = arith.minnumf %twice, %most : f32
  %z = math.fma %a, %high, %magic : f32
  %minus_n = arith.subf %magic, %z : f32
  %rest = math.fma %a, %high, %minus_n : f32
  %f = math.fma %a, %low, %rest : f32
  %q = math.fma %c2, %f, %c1 : f32
  %z_bits = arith.bitcast %z : f32 to i32
  %exponent = arith.shli %z_bits, %shift : i32
  %one_bits = arith.bitcast %one : f32 to i32
  %k_bits = arith.addi %one_bits, %exponent : i32
  %k = arith.bitcast %k_bits : i32 to f32
  %less = arith.subf %k, %c : f32
  %fk = arith.mulf %f, %k : f32
  %m = math.fma %fk, %q, %less : f32
  %d = arith.addf %m, %more : f32
  %r = arith.divf %one, %d : f32
  return %r : f32
}

// A divisor up to 2^126 and no further: beyond, the quotient is subnormal.
// CHECK-LABEL: func @large
// CHECK: nvvm.rcp
// CHECK-LABEL: func @too_large
// CHECK-NOT: nvvm.rcp
// CHECK: arith.divf
func.func @large(%x: f32) -> f32 {
  %one = arith.constant 1.0 : f32
  %most = arith.constant 0x7E800000 : f32
  %a = arith.maxnumf %x, %one : f32
  %d = arith.minnumf %a, %most : f32
  %q = arith.divf %one, %d : f32
  return %q : f32
}
func.func @too_large(%x: f32) -> f32 {
  %one = arith.constant 1.0 : f32
  %most = arith.constant 0x7E800001 : f32
  %a = arith.maxnumf %x, %one : f32
  %d = arith.minnumf %a, %most : f32
  %q = arith.divf %one, %d : f32
  return %q : f32
}

// The conversion gives that NaN anyway, but no other.
// CHECK-LABEL: func @narrowing
// CHECK-SAME: %[[T:.*]]: vector<2xf32>)
// CHECK-NEXT: %[[R:.*]] = arith.truncf %[[T]]
// CHECK-NEXT: return %[[R]]
func.func @narrowing(%t: vector<2xf32>) -> vector<2xbf16> {
  %nan = arith.constant dense<0x7FFF> : vector<2xbf16>
  %is = arith.cmpf uno, %t, %t : vector<2xf32>
  %r = arith.truncf %t : vector<2xf32> to vector<2xbf16>
  %s = arith.select %is, %nan, %r : vector<2xi1>, vector<2xbf16>
  return %s : vector<2xbf16>
}

// CHECK-LABEL: func @other_nan
// CHECK: arith.select
func.func @other_nan(%t: f32) -> bf16 {
  %nan = arith.constant 0x7FC0 : bf16
  %is = arith.cmpf uno, %t, %t : f32
  %r = arith.truncf %t : f32 to bf16
  %s = arith.select %is, %nan, %r : bf16
  return %s : bf16
}

// CHECK-LABEL: func @nan_of_another
// CHECK: arith.select
func.func @nan_of_another(%t: f32, %u: f32) -> bf16 {
  %nan = arith.constant 0x7FFF : bf16
  %is = arith.cmpf uno, %u, %u : f32
  %r = arith.truncf %t : f32 to bf16
  %s = arith.select %is, %nan, %r : bf16
  return %s : bf16
}
}
