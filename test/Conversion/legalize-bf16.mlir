// bf16 in pairs of f32: products, relu, maxima and scaled conversions to f8E4M3FN.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-legalize-bf16 -canonicalize -cse | FileCheck %s

// The elements at even places are the lower halves of the words. Up goes what is above one
// half, or one half above an odd value.
// CHECK-LABEL: func @product
// CHECK-SAME: (%[[A:.*]]: vector<32xbf16>, %[[B:.*]]: vector<32xbf16>)
// CHECK-DAG: %[[HALF:.*]] = arith.constant dense<-32768> : vector<32xi16>
// CHECK-DAG: %[[ONE:.*]] = arith.constant dense<1> : vector<32xi16>
// CHECK-DAG: %[[UPPER:.*]] = arith.constant dense<-65536> : vector<16xi32>
// CHECK-DAG: %[[LOWER:.*]] = arith.constant dense<65535> : vector<16xi32>
// CHECK-DAG: %[[C16:.*]] = arith.constant dense<16> : vector<16xi32>
// CHECK: %[[A_WORDS:.*]] = vector.bitcast %[[A]] : vector<32xbf16> to vector<16xi32>
// CHECK: %[[A_EVEN_BITS:.*]] = arith.shli %[[A_WORDS]], %[[C16]]
// CHECK: %[[A_EVEN:.*]] = arith.bitcast %[[A_EVEN_BITS]] : vector<16xi32> to vector<16xf32>
// CHECK: %[[A_ODD_BITS:.*]] = arith.andi %[[A_WORDS]], %[[UPPER]]
// CHECK: %[[A_ODD:.*]] = arith.bitcast %[[A_ODD_BITS]]
// CHECK: vector.bitcast %[[B]]
// CHECK: %[[EVEN:.*]] = arith.mulf %[[A_EVEN]], %{{.*}} : vector<16xf32>
// CHECK: %[[ODD:.*]] = arith.mulf %[[A_ODD]], %{{.*}} : vector<16xf32>
// CHECK-DAG: %[[ODD_BITS:.*]] = arith.bitcast %[[ODD]]
// CHECK-DAG: %[[EVEN_BITS:.*]] = arith.bitcast %[[EVEN]]
// CHECK-DAG: %[[EVEN_UPPER:.*]] = arith.shrui %[[EVEN_BITS]], %[[C16]]
// CHECK-DAG: %[[ODD_UPPER:.*]] = arith.andi %[[ODD_BITS]], %[[UPPER]]
// CHECK: %[[UPPER_WORDS:.*]] = arith.ori %[[EVEN_UPPER]], %[[ODD_UPPER]]
// CHECK: %[[TRUNCATED:.*]] = vector.bitcast %[[UPPER_WORDS]] : vector<16xi32> to vector<32xi16>
// CHECK: %[[IS_ODD:.*]] = arith.andi %[[TRUNCATED]], %[[ONE]]
// CHECK-DAG: %[[ODD_LOWER:.*]] = arith.shli %[[ODD_BITS]], %[[C16]]
// CHECK-DAG: %[[EVEN_LOWER:.*]] = arith.andi %[[EVEN_BITS]], %[[LOWER]]
// CHECK: %[[LOWER_WORDS:.*]] = arith.ori %[[EVEN_LOWER]], %[[ODD_LOWER]]
// CHECK: %[[REST:.*]] = vector.bitcast %[[LOWER_WORDS]] : vector<16xi32> to vector<32xi16>
// CHECK: %[[STICKY:.*]] = arith.ori %[[REST]], %[[IS_ODD]]
// CHECK: %[[IS_UP:.*]] = arith.cmpi ugt, %[[STICKY]], %[[HALF]]
// CHECK: %[[UP:.*]] = arith.extui %[[IS_UP]]
// CHECK: %[[ROUNDED:.*]] = arith.addi %[[TRUNCATED]], %[[UP]]
// CHECK: %[[R:.*]] = arith.bitcast %[[ROUNDED]] : vector<32xi16> to vector<32xbf16>
// CHECK: return %[[R]]
func.func @product(%a: vector<32xbf16>, %b: vector<32xbf16>) -> vector<32xbf16> {
  %0 = arith.mulf %a, %b : vector<32xbf16>
  return %0 : vector<32xbf16>
}

// CHECK-LABEL: func @relu
// CHECK-SAME: (%[[A:.*]]: vector<8xbf16>)
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0> : vector<8xi16>
// CHECK-DAG: %[[INFINITY:.*]] = arith.constant dense<32640> : vector<8xi16>
// CHECK: %[[BITS:.*]] = arith.bitcast %[[A]]
// CHECK: %[[IS_KEPT:.*]] = arith.cmpi ule, %[[BITS]], %[[INFINITY]]
// CHECK: %[[KEPT:.*]] = arith.select %[[IS_KEPT]], %[[BITS]], %[[ZERO]]
// CHECK: arith.bitcast %[[KEPT]] : vector<8xi16> to vector<8xbf16>
func.func @relu(%a: vector<8xbf16>) -> vector<8xbf16> {
  %zero = arith.constant dense<0.0> : vector<8xbf16>
  %0 = arith.maxnumf %zero, %a : vector<8xbf16>
  return %0 : vector<8xbf16>
}

// A square of what is no NaN is neither NaN nor negative, also when a loop has carried it.
// CHECK-LABEL: func @maximum_of_squares
// CHECK: scf.for
// CHECK: %[[BITS:.*]] = arith.bitcast %{{.*}} : vector<8xbf16> to vector<8xi16>
// CHECK: %[[M:.*]] = vector.reduction <maxsi>, %[[BITS]] : vector<8xi16> into i16
// CHECK: %[[R:.*]] = arith.bitcast %[[M]] : i16 to bf16
// CHECK: return %[[R]]
func.func @maximum_of_squares(%a: vector<8xbf16>, %n: index) -> bf16 {
  %zero = arith.constant dense<0.0> : vector<8xbf16>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = arith.maxnumf %a, %zero : vector<8xbf16>
  %1 = arith.mulf %0, %0 : vector<8xbf16>
  %2 = scf.for %i = %c0 to %n step %c1 iter_args(%x = %1) -> (vector<8xbf16>) {
    %3 = arith.mulf %x, %x : vector<8xbf16>
    scf.yield %3 : vector<8xbf16>
  }
  %4 = vector.reduction <maxnumf>, %2 : vector<8xbf16> into bf16
  return %4 : bf16
}

// NaN in magnitudes is below 0 once 127 is added, and so counts for nothing.
// CHECK-LABEL: func @maximum_of_magnitudes
// CHECK-DAG: %[[BIAS:.*]] = arith.constant 127 : i16
// CHECK-DAG: %[[BIASES:.*]] = arith.constant dense<127> : vector<8xi16>
// CHECK: %[[MAGNITUDES:.*]] = arith.andi
// CHECK: %[[BIASED:.*]] = arith.addi %[[MAGNITUDES]], %[[BIASES]]
// CHECK: %[[M:.*]] = vector.reduction <maxsi>, %[[BIASED]] : vector<8xi16> into i16
// CHECK: %[[LEAST:.*]] = arith.maxsi %[[M]], %[[BIAS]]
// CHECK: %[[R:.*]] = arith.subi %[[LEAST]], %[[BIAS]]
// CHECK: arith.bitcast %[[R]] : i16 to bf16
func.func @maximum_of_magnitudes(%a: vector<8xbf16>) -> bf16 {
  %zero = arith.constant 0.0 : bf16
  %mask = arith.constant dense<0x7fff> : vector<8xi16>
  %0 = arith.bitcast %a : vector<8xbf16> to vector<8xi16>
  %1 = arith.andi %0, %mask : vector<8xi16>
  %2 = arith.bitcast %1 : vector<8xi16> to vector<8xbf16>
  %3 = vector.reduction <maxnumf>, %2, %zero : vector<8xbf16> into bf16
  return %3 : bf16
}

// Four reductions are one: first within each vector, then in pairs of vectors.
// CHECK-LABEL: func @four_maxima
// CHECK-NOT: vector.reduction
// CHECK-COUNT-4: arith.maxsi %{{.*}} : vector<8xi16>
// CHECK-DAG: vector.shuffle %[[M0:[^,]*]], %[[M1:[^ ]*]] [0, 8, 1, 9, 4, 12, 5, 13]
// CHECK-DAG: vector.shuffle %[[M0]], %[[M1]] [2, 10, 3, 11, 6, 14, 7, 15]
// CHECK: %[[M01:.*]] = arith.maxsi
// CHECK-DAG: vector.shuffle %[[M2:[^,]*]], %[[M3:[^ ]*]] [0, 8, 1, 9, 4, 12, 5, 13]
// CHECK-DAG: vector.shuffle %[[M2]], %[[M3]] [2, 10, 3, 11, 6, 14, 7, 15]
// CHECK: %[[M23:.*]] = arith.maxsi
// CHECK-DAG: vector.shuffle %[[M01]], %[[M23]] [0, 1, 8, 9, 4, 5, 12, 13]
// CHECK-DAG: vector.shuffle %[[M01]], %[[M23]] [2, 3, 10, 11, 6, 7, 14, 15]
// CHECK: arith.maxsi %{{.*}} : vector<8xi16>
// CHECK: %[[M:.*]] = arith.maxsi %{{.*}} : vector<4xi16>
// CHECK: arith.bitcast %[[M]] : vector<4xi16> to vector<4xbf16>
func.func @four_maxima(%a: vector<16xbf16>, %b: vector<16xbf16>, %c: vector<16xbf16>,
                       %d: vector<16xbf16>) -> vector<4xbf16> {
  %zero = arith.constant dense<0.0> : vector<16xbf16>
  %a0 = arith.maxnumf %a, %zero : vector<16xbf16>
  %b0 = arith.maxnumf %b, %zero : vector<16xbf16>
  %c0 = arith.maxnumf %c, %zero : vector<16xbf16>
  %d0 = arith.maxnumf %d, %zero : vector<16xbf16>
  %a1 = arith.mulf %a0, %a0 : vector<16xbf16>
  %b1 = arith.mulf %b0, %b0 : vector<16xbf16>
  %c1 = arith.mulf %c0, %c0 : vector<16xbf16>
  %d1 = arith.mulf %d0, %d0 : vector<16xbf16>
  %a2 = vector.reduction <maxnumf>, %a1 : vector<16xbf16> into bf16
  %b2 = vector.reduction <maxnumf>, %b1 : vector<16xbf16> into bf16
  %c2 = vector.reduction <maxnumf>, %c1 : vector<16xbf16> into bf16
  %d2 = vector.reduction <maxnumf>, %d1 : vector<16xbf16> into bf16
  %0 = vector.from_elements %a2, %b2, %c2, %d2 : vector<4xbf16>
  return %0 : vector<4xbf16>
}

// The bits of the factor are an exponent field below that of infinity. Signs are put aside,
// NaN (0x7f) gets none.
// CHECK-LABEL: func @scaled
// CHECK-SAME: (%[[A:.*]]: vector<4xbf16>, %{{.*}}: i8)
// CHECK-NOT: arith.truncf
// CHECK-DAG: %[[NAN:.*]] = arith.constant dense<127> : vector<4xi16>
// CHECK-DAG: %[[GREATEST:.*]] = arith.constant dense<17392> : vector<4xi16>
// CHECK-DAG: %[[MAGIC:.*]] = arith.constant dense<1.638400e+04> : vector<2xf32>
// CHECK-DAG: %[[SMALLEST_NORMAL:.*]] = arith.constant dense<8> : vector<4xi16>
// CHECK: %[[EVEN:.*]] = arith.mulf %{{.*}}, %[[FACTORS:.*]] : vector<2xf32>
// CHECK: arith.addf %[[EVEN]], %[[MAGIC]]
// CHECK: %[[ODD:.*]] = arith.mulf %{{.*}}, %[[FACTORS]] : vector<2xf32>
// CHECK: arith.addf %[[ODD]], %[[MAGIC]]
// CHECK: %[[CLAMPED:.*]] = arith.minui %{{.*}}, %[[GREATEST]] : vector<4xi16>
// CHECK: %[[NORMAL:.*]] = arith.shrsi
// CHECK: %[[SUBNORMAL:.*]] = arith.minui %{{.*}}, %[[SMALLEST_NORMAL]] : vector<4xi16>
// CHECK: %[[MAGNITUDE:.*]] = arith.maxsi %[[NORMAL]], %[[SUBNORMAL]]
// CHECK: %[[IS_NAN:.*]] = arith.cmpi eq, %[[NORMAL]], %[[NAN]]
// CHECK: %[[SIGNED:.*]] = arith.ori %[[MAGNITUDE]]
// CHECK: %[[R:.*]] = arith.select %[[IS_NAN]], %[[NORMAL]], %[[SIGNED]]
// CHECK: arith.trunci %[[R]] : vector<4xi16> to vector<4xi8>
func.func @scaled(%a: vector<4xbf16>, %n: i8) -> vector<4xf8E4M3FN> {
  %c7 = arith.constant 7 : i32
  %c127 = arith.constant 127 : i8
  %0 = arith.andi %n, %c127 : i8
  %1 = arith.extui %0 : i8 to i32
  %2 = arith.shli %1, %c7 : i32
  %bits = arith.trunci %2 : i32 to i16
  %factor = arith.bitcast %bits : i16 to bf16
  %factors = vector.broadcast %factor : bf16 to vector<4xbf16>
  %scaled = arith.mulf %a, %factors : vector<4xbf16>
  %3 = arith.truncf %scaled : vector<4xbf16> to vector<4xf8E4M3FN>
  return %3 : vector<4xf8E4M3FN>
}

// A factor that may be negative, one with a bit of the mantissa, and any.
// CHECK-LABEL: func @any_factor
// CHECK-COUNT-3: arith.truncf %{{.*}} : vector<4xbf16> to vector<4xf8E4M3FN>
func.func @any_factor(%a: vector<4xbf16>, %n: i32, %m: i8, %factor: bf16)
    -> (vector<4xf8E4M3FN>, vector<4xf8E4M3FN>, vector<4xf8E4M3FN>) {
  %c7 = arith.constant 7 : i32
  %c6 = arith.constant 6 : i32
  %0 = arith.shli %n, %c7 : i32
  %bits = arith.trunci %0 : i32 to i16
  %1 = arith.bitcast %bits : i16 to bf16
  %2 = vector.broadcast %1 : bf16 to vector<4xbf16>
  %3 = arith.mulf %a, %2 : vector<4xbf16>
  %4 = arith.truncf %3 : vector<4xbf16> to vector<4xf8E4M3FN>
  %5 = vector.broadcast %factor : bf16 to vector<4xbf16>
  %6 = arith.mulf %a, %5 : vector<4xbf16>
  %7 = arith.truncf %6 : vector<4xbf16> to vector<4xf8E4M3FN>
  %8 = arith.extui %m : i8 to i32
  %9 = arith.shli %8, %c6 : i32
  %half_bits = arith.trunci %9 : i32 to i16
  %10 = arith.bitcast %half_bits : i16 to bf16
  %11 = vector.broadcast %10 : bf16 to vector<4xbf16>
  %12 = arith.mulf %a, %11 : vector<4xbf16>
  %13 = arith.truncf %12 : vector<4xbf16> to vector<4xf8E4M3FN>
  return %4, %7, %13 : vector<4xf8E4M3FN>, vector<4xf8E4M3FN>, vector<4xf8E4M3FN>
}

// Maxima of what may be negative, and of what may be NaN and does not start from 0.
// CHECK-LABEL: func @any_maximum
// CHECK-COUNT-2: vector.reduction <maxnumf>
func.func @any_maximum(%a: vector<8xbf16>, %start: bf16) -> (bf16, bf16) {
  %zero = arith.constant 0.0 : bf16
  %0 = vector.reduction <maxnumf>, %a, %zero : vector<8xbf16> into bf16
  %1 = arith.mulf %a, %a : vector<8xbf16>
  %2 = vector.reduction <maxnumf>, %1, %start : vector<8xbf16> into bf16
  return %0, %2 : bf16, bf16
}

// Shapes, types and ops that other passes take care of.
// CHECK-LABEL: func @others
// CHECK: arith.mulf %{{.*}} : bf16
// CHECK: arith.mulf %{{.*}} : vector<3xbf16>
// CHECK: arith.mulf %{{.*}} : vector<2x2xbf16>
// CHECK: arith.mulf %{{.*}} : vector<4xf16>
// CHECK: arith.addf %{{.*}} : vector<4xbf16>
// CHECK: arith.maxnumf %{{.*}} : vector<4xbf16>
func.func @others(%a: bf16, %b: vector<3xbf16>, %c: vector<2x2xbf16>, %d: vector<4xf16>,
                  %e: vector<4xbf16>)
    -> (bf16, vector<3xbf16>, vector<2x2xbf16>, vector<4xf16>, vector<4xbf16>, vector<4xbf16>) {
  %one = arith.constant dense<1.0> : vector<4xbf16>
  %0 = arith.mulf %a, %a : bf16
  %1 = arith.mulf %b, %b : vector<3xbf16>
  %2 = arith.mulf %c, %c : vector<2x2xbf16>
  %3 = arith.mulf %d, %d : vector<4xf16>
  %4 = arith.addf %e, %e : vector<4xbf16>
  %5 = arith.maxnumf %e, %one : vector<4xbf16>
  return %0, %1, %2, %3, %4, %5
    : bf16, vector<3xbf16>, vector<2x2xbf16>, vector<4xf16>, vector<4xbf16>, vector<4xbf16>
}

// A mask takes one op.
// CHECK-LABEL: func @masked
// CHECK: vector.mask %{{.*}} { vector.reduction <maxnumf>, %{{.*}}, %{{.*}} : vector<8xbf16> into bf16 }
func.func @masked(%a: vector<8xbf16>, %mask: vector<8xi1>) -> bf16 {
  %zero = arith.constant 0.0 : bf16
  %0 = arith.mulf %a, %a : vector<8xbf16>
  %1 = vector.mask %mask { vector.reduction <maxnumf>, %0, %zero : vector<8xbf16> into bf16 }
    : vector<8xi1> -> bf16
  return %1 : bf16
}

// A mask of words clears the sign of every other element alone: signs are kept.
// CHECK-LABEL: func.func @masked_words(
// CHECK: arith.constant dense<128> : vector<4xi16>
// CHECK: arith.ori
// CHECK: return
func.func @masked_words(%v: vector<4xbf16>, %field: i8) -> vector<4xf8E4M3FN> {
  %mask = arith.constant dense<0x7fffffff> : vector<2xi32>
  %c7 = arith.constant 7 : i32
  %greatest = arith.constant 254 : i32
  %words = vector.bitcast %v : vector<4xbf16> to vector<2xi32>
  %masked = arith.andi %words, %mask : vector<2xi32>
  %elements = vector.bitcast %masked : vector<2xi32> to vector<4xbf16>
  %wide = arith.extui %field : i8 to i32
  %bounded = arith.minui %wide, %greatest : i32
  %shifted = arith.shli %bounded, %c7 : i32
  %bits = arith.trunci %shifted : i32 to i16
  %factor = arith.bitcast %bits : i16 to bf16
  %factors = vector.broadcast %factor : bf16 to vector<4xbf16>
  %scaled = arith.mulf %elements, %factors : vector<4xbf16>
  %data = arith.truncf %scaled : vector<4xbf16> to vector<4xf8E4M3FN>
  return %data : vector<4xf8E4M3FN>
}

// An exponent field of 8 bits may be that of infinity, which is no power of two.
// CHECK-LABEL: func.func @infinite_factor(
// CHECK: arith.truncf %{{.*}} : vector<4xbf16> to vector<4xf8E4M3FN>
func.func @infinite_factor(%v: vector<4xbf16>, %field: i8) -> vector<4xf8E4M3FN> {
  %c7 = arith.constant 7 : i32
  %wide = arith.extui %field : i8 to i32
  %shifted = arith.shli %wide, %c7 : i32
  %bits = arith.trunci %shifted : i32 to i16
  %factor = arith.bitcast %bits : i16 to bf16
  %factors = vector.broadcast %factor : bf16 to vector<4xbf16>
  %scaled = arith.mulf %v, %factors : vector<4xbf16>
  %data = arith.truncf %scaled : vector<4xbf16> to vector<4xf8E4M3FN>
  return %data : vector<4xf8E4M3FN>
}
