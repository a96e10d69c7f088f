// bf16 in pairs of f32: arithmetic on bf16, and in f32 between conversions from and to bf16.
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

// Only the sum of NaN is rounded with care: its lower half may have bits, which would carry.
// CHECK-LABEL: func @sum
// CHECK-DAG: %[[NAN:.*]] = arith.constant dense<2143289344> : vector<4xi32>
// CHECK: %[[EVEN:.*]] = arith.addf %{{.*}} : vector<4xf32>
// CHECK: %[[ODD:.*]] = arith.addf %{{.*}} : vector<4xf32>
// CHECK: %[[IS_NAN:.*]] = arith.cmpf uno, %[[EVEN]], %[[EVEN]]
// CHECK: %[[BITS:.*]] = arith.bitcast %[[EVEN]]
// CHECK: arith.select %[[IS_NAN]], %[[NAN]], %[[BITS]]
// CHECK: arith.cmpf uno, %[[ODD]], %[[ODD]]
// CHECK: arith.cmpi ugt, %{{.*}} : vector<8xi16>
func.func @sum(%a: vector<8xbf16>, %b: vector<8xbf16>) -> vector<8xbf16> {
  %0 = arith.addf %a, %b : vector<8xbf16>
  return %0 : vector<8xbf16>
}

// What is one of two operands needs no rounding.
// CHECK-LABEL: func @minimum
// CHECK-COUNT-2: arith.minimumf %{{.*}} : vector<4xf32>
// CHECK-NOT: ugt
// CHECK: return
func.func @minimum(%a: vector<8xbf16>, %b: vector<8xbf16>) -> vector<8xbf16> {
  %0 = arith.minimumf %a, %b : vector<8xbf16>
  return %0 : vector<8xbf16>
}

// CHECK-LABEL: func @signs
// CHECK-SAME: (%[[A:.*]]: vector<8xbf16>)
// CHECK-DAG: %[[SIGN:.*]] = arith.constant dense<-32768> : vector<8xi16>
// CHECK-DAG: %[[REST:.*]] = arith.constant dense<32767> : vector<8xi16>
// CHECK: %[[BITS:.*]] = arith.bitcast %[[A]] : vector<8xbf16> to vector<8xi16>
// CHECK: arith.xori %[[BITS]], %[[SIGN]]
// CHECK: arith.andi %[[BITS]], %[[REST]]
// CHECK-NOT: f32
// CHECK: return
func.func @signs(%a: vector<8xbf16>) -> (vector<8xbf16>, vector<8xbf16>) {
  %0 = arith.negf %a : vector<8xbf16>
  %1 = math.absf %a : vector<8xbf16>
  return %0, %1 : vector<8xbf16>, vector<8xbf16>
}

// A comparison's results are at even and odd places too.
// CHECK-LABEL: func @selection
// CHECK: %[[EVEN:.*]] = arith.cmpf olt, %[[A_EVEN:.*]], %[[B_EVEN:.*]] : vector<4xf32>
// CHECK: %[[ODD:.*]] = arith.cmpf olt, %[[A_ODD:.*]], %[[B_ODD:.*]] : vector<4xf32>
// CHECK: arith.select %[[EVEN]], %[[A_EVEN]], %[[B_EVEN]]
// CHECK: arith.select %[[ODD]], %[[A_ODD]], %[[B_ODD]]
// CHECK-NOT: arith.select
// CHECK: return
func.func @selection(%a: vector<8xbf16>, %b: vector<8xbf16>) -> vector<8xbf16> {
  %0 = arith.cmpf olt, %a, %b : vector<8xbf16>
  %1 = arith.select %0, %a, %b : vector<8xi1>, vector<8xbf16>
  return %1 : vector<8xbf16>
}

// Between conversions everything is done twice. Constants are taken apart, a scalar's
// broadcast is made half as wide.
// CHECK-LABEL: func @between_conversions
// CHECK-SAME: (%[[A:.*]]: vector<8xbf16>, %[[S:.*]]: f32, %[[T:.*]]: bf16)
// CHECK-DAG: %[[EVEN_PLACES:.*]] = arith.constant dense<[0.000000e+00, 2.000000e+00, 4.000000e+00, 6.000000e+00]> : vector<4xf32>
// CHECK-DAG: %[[ODD_PLACES:.*]] = arith.constant dense<[1.000000e+00, 3.000000e+00, 5.000000e+00, 7.000000e+00]> : vector<4xf32>
// CHECK-DAG: %[[FACTOR:.*]] = arith.constant dense<1.500000e+00> : vector<4xf32>
// CHECK-DAG: %[[UNIT:.*]] = arith.constant dense<23> : vector<4xi32>
// CHECK-DAG: %[[QUARTER:.*]] = arith.constant dense<2.500000e-01> : vector<4xf32>
// CHECK-NOT: arith.extf
// CHECK: %[[EVEN:.*]] = math.fma %{{.*}}, %[[FACTOR]], %[[EVEN_PLACES]] : vector<4xf32>
// CHECK: %[[ODD:.*]] = math.fma %{{.*}}, %[[FACTOR]], %[[ODD_PLACES]] : vector<4xf32>
// CHECK: arith.bitcast %[[EVEN]] : vector<4xf32> to vector<4xi32>
// CHECK: arith.bitcast %[[ODD]] : vector<4xf32> to vector<4xi32>
// CHECK-COUNT-2: arith.addi %{{.*}}, %[[UNIT]] : vector<4xi32>
// CHECK: %[[LIMIT:.*]] = vector.broadcast %[[S]] : f32 to vector<4xf32>
// CHECK-COUNT-2: arith.cmpf ogt, %{{.*}}, %[[LIMIT]] fastmath<nnan> : vector<4xf32>
// CHECK-COUNT-2: arith.select %{{.*}} : vector<4xi1>, vector<4xf32>
// CHECK: vector.bitcast %{{.*}} : vector<4xi32> to vector<8xi16>
// CHECK-COUNT-2: arith.subf %{{.*}}, %[[QUARTER]] : vector<4xf32>
// CHECK: %[[WIDE:.*]] = arith.extf %[[T]] : bf16 to f32
// CHECK: %[[TS:.*]] = vector.broadcast %[[WIDE]] : f32 to vector<4xf32>
// CHECK-COUNT-2: arith.divf %{{.*}}, %[[TS]] : vector<4xf32>
func.func @between_conversions(%a: vector<8xbf16>, %s: f32, %t: bf16) -> vector<8xbf16> {
  %factor = arith.constant dense<1.5> : vector<8xf32>
  %places = arith.constant dense<[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]> : vector<8xf32>
  %unit = arith.constant dense<23> : vector<8xi32>
  %quarter = arith.constant dense<0.25> : vector<8xbf16>
  %limit = vector.broadcast %s : f32 to vector<8xf32>
  %ts = vector.broadcast %t : bf16 to vector<8xbf16>
  %0 = arith.extf %a : vector<8xbf16> to vector<8xf32>
  %1 = math.fma %0, %factor, %places : vector<8xf32>
  %2 = arith.bitcast %1 : vector<8xf32> to vector<8xi32>
  %3 = arith.addi %2, %unit : vector<8xi32>
  %4 = arith.bitcast %3 : vector<8xi32> to vector<8xf32>
  %5 = arith.cmpf ogt, %4, %limit fastmath<nnan> : vector<8xf32>
  %6 = arith.select %5, %4, %0 : vector<8xi1>, vector<8xf32>
  %7 = arith.truncf %6 : vector<8xf32> to vector<8xbf16>
  %8 = arith.subf %7, %quarter : vector<8xbf16>
  %9 = arith.divf %8, %ts : vector<8xbf16>
  return %9 : vector<8xbf16>
}

// What another vector goes into, or what goes elsewhere, is left alone, with all that it
// comes from or becomes; its neighbours are not.
// CHECK-LABEL: func @other_vectors
// CHECK-SAME: (%[[A:.*]]: vector<8xbf16>, %[[B:.*]]: vector<8xf32>, %[[C:.*]]: vector<8xi1>)
// CHECK: %[[WIDE:.*]] = arith.extf %[[A]] : vector<8xbf16> to vector<8xf32>
// CHECK: %[[SUM:.*]] = arith.addf %[[WIDE]], %[[B]] : vector<8xf32>
// CHECK: arith.truncf %[[SUM]] : vector<8xf32> to vector<8xbf16>
// CHECK: %[[SQUARE:.*]] = arith.mulf %[[WIDE]], %[[WIDE]] : vector<8xf32>
// CHECK: arith.truncf %[[SQUARE]] : vector<8xf32> to vector<8xbf16>
// CHECK: arith.select %[[C]], %[[A]], %{{.*}} : vector<8xi1>, vector<8xbf16>
// CHECK: arith.addf %{{.*}} : vector<4xf32>
func.func @other_vectors(%a: vector<8xbf16>, %b: vector<8xf32>, %c: vector<8xi1>)
    -> (vector<8xbf16>, vector<8xf32>, vector<8xbf16>, vector<8xbf16>) {
  %0 = arith.extf %a : vector<8xbf16> to vector<8xf32>
  %1 = arith.addf %0, %b : vector<8xf32>
  %2 = arith.truncf %1 : vector<8xf32> to vector<8xbf16>
  %3 = arith.mulf %0, %0 : vector<8xf32>
  %4 = arith.truncf %3 : vector<8xf32> to vector<8xbf16>
  %5 = arith.select %c, %a, %2 : vector<8xi1>, vector<8xbf16>
  %6 = arith.addf %5, %4 : vector<8xbf16>
  return %2, %3, %4, %6 : vector<8xbf16>, vector<8xf32>, vector<8xbf16>, vector<8xbf16>
}

// A block may come before the one that dominates it.
// CHECK-LABEL: func @blocks
// CHECK-NOT: arith.truncf
// CHECK: return
func.func @blocks(%a: vector<8xbf16>) -> vector<8xbf16> {
  %0 = arith.extf %a : vector<8xbf16> to vector<8xf32>
  cf.br ^second
^third:
  %2 = arith.truncf %1 : vector<8xf32> to vector<8xbf16>
  return %2 : vector<8xbf16>
^second:
  %1 = arith.mulf %0, %0 : vector<8xf32>
  cf.br ^third
}

// Shapes, types and ops that other passes take care of.
// CHECK-LABEL: func @others
// CHECK: arith.mulf %{{.*}} : bf16
// CHECK: arith.mulf %{{.*}} : vector<3xbf16>
// CHECK: arith.mulf %{{.*}} : vector<2x2xbf16>
// CHECK: arith.mulf %{{.*}} : vector<[4]xbf16>
// CHECK: arith.mulf %{{.*}} : vector<4xf16>
// CHECK: arith.mulf %{{.*}} : vector<4xf32>
// CHECK: arith.truncf %{{.*}} toward_zero : vector<4xf32> to vector<4xbf16>
// CHECK: arith.truncf %{{.*}} : vector<4xf64> to vector<4xbf16>
// CHECK: arith.sitofp %{{.*}} : vector<4xi32> to vector<4xbf16>
// CHECK: arith.truncf %{{.*}} : vector<4xbf16> to vector<4xf8E4M3FN>
// CHECK: vector.reduction <maxnumf>, %{{.*}} : vector<4xbf16> into bf16
func.func @others(%a: bf16, %b: vector<3xbf16>, %c: vector<2x2xbf16>, %d: vector<[4]xbf16>,
                  %e: vector<4xf16>, %f: vector<4xbf16>, %g: vector<4xf64>, %h: vector<4xi32>)
    -> (bf16, vector<3xbf16>, vector<2x2xbf16>, vector<[4]xbf16>, vector<4xf16>,
        vector<4xbf16>, vector<4xbf16>, vector<4xbf16>, vector<4xf8E4M3FN>, bf16) {
  %0 = arith.mulf %a, %a : bf16
  %1 = arith.mulf %b, %b : vector<3xbf16>
  %2 = arith.mulf %c, %c : vector<2x2xbf16>
  %3 = arith.mulf %d, %d : vector<[4]xbf16>
  %4 = arith.mulf %e, %e : vector<4xf16>
  %5 = arith.extf %f : vector<4xbf16> to vector<4xf32>
  %square = arith.mulf %5, %5 : vector<4xf32>
  %6 = arith.truncf %square toward_zero : vector<4xf32> to vector<4xbf16>
  %7 = arith.truncf %g : vector<4xf64> to vector<4xbf16>
  %8 = arith.sitofp %h : vector<4xi32> to vector<4xbf16>
  %9 = arith.truncf %f : vector<4xbf16> to vector<4xf8E4M3FN>
  %10 = vector.reduction <maxnumf>, %f : vector<4xbf16> into bf16
  return %0, %1, %2, %3, %4, %6, %7, %8, %9, %10
    : bf16, vector<3xbf16>, vector<2x2xbf16>, vector<[4]xbf16>, vector<4xf16>,
      vector<4xbf16>, vector<4xbf16>, vector<4xbf16>, vector<4xf8E4M3FN>, bf16
}

// The NaN that a program selects is the one of the conversion, 0x7fff in the upper half.
// CHECK-LABEL: func @selected_nan
// CHECK-DAG: %[[NAN:.*]] = arith.constant dense<2147418112> : vector<2xi32>
// CHECK-COUNT-2: arith.select %{{.*}}, %[[NAN]], %
// CHECK-NOT: arith.select
// CHECK: return
func.func @selected_nan(%v: vector<4xbf16>) -> vector<4xbf16> {
  %wide = arith.extf %v : vector<4xbf16> to vector<4xf32>
  %sum = arith.addf %wide, %wide : vector<4xf32>
  %nan = arith.constant dense<0x7FFF> : vector<4xbf16>
  %isNaN = arith.cmpf uno, %sum, %sum : vector<4xf32>
  %narrow = arith.truncf %sum : vector<4xf32> to vector<4xbf16>
  %result = arith.select %isNaN, %nan, %narrow : vector<4xi1>, vector<4xbf16>
  return %result : vector<4xbf16>
}

// What is clamped to a number and then widened is not packed in between: the words are split
// once.
// CHECK-LABEL: func @clamped_and_widened
// CHECK: %[[LOW:.*]] = arith.maxnumf
// CHECK-NEXT: %[[HIGH:.*]] = arith.maxnumf
// CHECK-NEXT: arith.mulf %[[LOW]], %[[LOW]]
// CHECK-NEXT: arith.mulf %[[HIGH]], %[[HIGH]]
func.func @clamped_and_widened(%v: vector<4xbf16>) -> vector<4xbf16> {
  %least = arith.constant dense<-8.0> : vector<4xbf16>
  %clamped = arith.maxnumf %v, %least : vector<4xbf16>
  %wide = arith.extf %clamped : vector<4xbf16> to vector<4xf32>
  %square = arith.mulf %wide, %wide : vector<4xf32>
  %narrow = arith.truncf %square : vector<4xf32> to vector<4xbf16>
  return %narrow : vector<4xbf16>
}
