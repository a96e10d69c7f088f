// The CPU path: a loop over rows, and for each live row one over its columns.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -verify-diagnostics -convert-moe-to-scf -canonicalize -cse | FileCheck %s

// 72 columns: two vectors of 32 and 8 single elements. No map entry at or past n_used is
// read.
// CHECK-LABEL: func.func @activation
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x72xbf16>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[N:[^ ]*]]: memref<i32>, %[[OUT:[^ ]*]]: memref<?x72xbf16>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C32:.*]] = arith.constant 32 : index
// CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
// CHECK-DAG: %[[C72:.*]] = arith.constant 72 : index
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : i32
// CHECK-DAG: %[[FALSE:.*]] = arith.constant false
// CHECK: %[[ROWS:.*]] = memref.dim %[[X]], %[[C0]]
// CHECK: %[[N_LOADED:.*]] = memref.load %[[N]][] : memref<i32>
// CHECK: %[[N_INDEX:.*]] = arith.index_cast %[[N_LOADED]] : i32 to index
// CHECK: %[[N_LOW:.*]] = arith.maxsi %[[N_INDEX]], %[[C0]]
// CHECK: %[[USED:.*]] = arith.minsi %[[N_LOW]], %[[ROWS]]
// CHECK: scf.for %[[ROW:.*]] = %[[C0]] to %[[USED]] step %[[C1]] {
// CHECK: %[[IS_USED:.*]] = arith.cmpi slt, %[[ROW]], %[[USED]]
// CHECK: %[[IS_LIVE:.*]] = scf.if %[[IS_USED]] -> (i1) {
// CHECK-NEXT: %[[ENTRY:.*]] = memref.load %[[MAP]][%[[ROW]]]
// CHECK-NEXT: %[[IS_TOKEN:.*]] = arith.cmpi sge, %[[ENTRY]], %[[ZERO]]
// CHECK-NEXT: scf.yield %[[IS_TOKEN]]
// CHECK-NEXT: } else {
// CHECK-NEXT: scf.yield %[[FALSE]]
// CHECK: scf.if %[[IS_LIVE]] {
// CHECK-NEXT: scf.for %[[COLUMN:.*]] = %[[C0]] to %[[C64]] step %[[C32]] {
// CHECK-NEXT: %[[V:.*]] = vector.load %[[X]][%[[ROW]], %[[COLUMN]]] : memref<?x72xbf16>, vector<32xbf16>
// CHECK-NEXT: %[[RELU:.*]] = arith.maxnumf %[[V]], %{{.*}} : vector<32xbf16>
// CHECK-NEXT: %[[SQUARE:.*]] = arith.mulf %[[RELU]], %[[RELU]] : vector<32xbf16>
// CHECK-NEXT: vector.store %[[SQUARE]], %[[OUT]][%[[ROW]], %[[COLUMN]]] : memref<?x72xbf16>, vector<32xbf16>
// CHECK: scf.for %[[LAST:.*]] = %[[C64]] to %[[C72]] step %[[C1]] {
// CHECK: vector.load %[[X]][%[[ROW]], %[[LAST]]] : memref<?x72xbf16>, vector<1xbf16>
// CHECK: vector.store %{{.*}}, %[[OUT]][%[[ROW]], %[[LAST]]] : memref<?x72xbf16>, vector<1xbf16>
// CHECK-NOT: else
// CHECK: return
func.func @activation(%x: memref<?x72xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x72xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x72xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x72xbf16>)
  return
}

// -----

// n_used of rank 1.
// CHECK-LABEL: func.func @rank_1
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK: memref.load %{{.*}}[%[[C0]]] : memref<1xi32>
func.func @rank_1(%x: memref<?x32xbf16>, %map: memref<?xi32>, %n: memref<1xi32>,
                  %out: memref<?x32xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x32xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<?x32xbf16>)
  return
}

// -----

// Scales of all rows of a row tile are cleared (2 column tiles of 512 bytes), then those of
// its live rows stored: here of a column tile of four groups at once, and of the fifth group.
// Four groups are quantised in the loop while the next four are read, so what is left of a
// loop over a single four is its first and its last part.
// CHECK-LABEL: func.func @swizzled
// CHECK-SAME: (%[[X:[^ ]*]]: memref<300x160xbf16>, {{.*}}, %[[DATA:[^ ]*]]: memref<300x160xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<3072xf8E8M0FNU>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C32:.*]] = arith.constant 32 : index
// CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
// CHECK-DAG: %[[C96:.*]] = arith.constant 96 : index
// CHECK-DAG: %[[C128:.*]] = arith.constant 128 : index
// CHECK-DAG: %[[C384:.*]] = arith.constant 384 : index
// CHECK-DAG: %[[C1024:.*]] = arith.constant 1024 : index
// CHECK: %[[USED:.*]] = arith.minsi
// CHECK: scf.for %[[BEGIN:.*]] = %[[C0]] to %[[C384]] step %[[C128]] {
// CHECK: %[[FIRST:.*]] = arith.addi
// CHECK: %[[FIRST_SCALE:.*]] = arith.addi
// CHECK: %[[END_SCALE:.*]] = arith.addi %[[FIRST_SCALE]], %[[C1024]]
// CHECK: scf.for %[[OFFSET:.*]] = %[[FIRST_SCALE]] to %[[END_SCALE]] step %[[C64]] {
// CHECK-NEXT: vector.store %{{.*}}, %[[SCALE]][%[[OFFSET]]] : memref<3072xf8E8M0FNU>, vector<64xf8E8M0FNU>
// CHECK: %[[NEXT:.*]] = arith.addi %[[BEGIN]], %[[C128]]
// CHECK: %[[END:.*]] = arith.minsi %[[NEXT]], %[[USED]]
// CHECK: scf.for %[[ROW:.*]] = %[[BEGIN]] to %[[END]] step %[[C1]] {
// CHECK: scf.if %{{.*}} {
// CHECK: %[[V:.*]] = vector.load %[[X]][%[[ROW]], %[[C0]]] : memref<300x160xbf16>, vector<32xbf16>
// CHECK: arith.maxnumf %[[V]]
// CHECK: arith.mulf
// CHECK: vector.load %[[X]][%[[ROW]], %[[C32]]]
// CHECK: vector.load %[[X]][%[[ROW]], %[[C64]]]
// CHECK: vector.load %[[X]][%[[ROW]], %[[C96]]]
// CHECK: vector.store %{{.*}}, %[[DATA]][%[[ROW]], %[[C0]]] : memref<300x160xf8E4M3FN>, vector<32xf8E4M3FN>
// CHECK: vector.store %{{.*}}, %[[DATA]][%[[ROW]], %[[C32]]]
// CHECK: vector.store %{{.*}}, %[[DATA]][%[[ROW]], %[[C64]]]
// CHECK: vector.store %{{.*}}, %[[DATA]][%[[ROW]], %[[C96]]]
// CHECK: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] : memref<3072xf8E8M0FNU>, vector<4xf8E8M0FNU>
// CHECK: vector.load %[[X]][%[[ROW]], %[[C128]]]
// CHECK: vector.store %{{.*}}, %[[DATA]][%[[ROW]], %[[C128]]]
// CHECK: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] : memref<3072xf8E8M0FNU>, vector<1xf8E8M0FNU>
// CHECK-NOT: vector.store
func.func @swizzled(%x: memref<300x160xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                    %data: memref<300x160xf8E4M3FN>, %scale: memref<3072xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<300x160xbf16>, memref<300xi32>, memref<i32>)
    outs(%data, %scale : memref<300x160xf8E4M3FN>, memref<3072xf8E8M0FNU>)
  return
}

// -----

// Three column tiles: what the loop carries from one to the next is the words of their
// activations, and their exponents.
// CHECK-LABEL: func.func @carried
// CHECK-DAG: %[[C4:.*]] = arith.constant 4 : index
// CHECK-DAG: %[[C12:.*]] = arith.constant 12 : index
// CHECK: %[[W:.*]] = vector.bitcast %{{.*}} : vector<32xbf16> to vector<16xi32>
// CHECK: %[[LAST:.*]]:5 = scf.for %{{.*}} = %[[C4]] to %[[C12]] step %[[C4]] iter_args(%[[CARRIED:[^ ]*]] = %[[W]], {{.*}}) -> (vector<16xi32>, vector<16xi32>, vector<16xi32>, vector<16xi32>, vector<4xi32>) {
// CHECK: %[[NEXT:.*]] = vector.bitcast %{{.*}} : vector<32xbf16> to vector<16xi32>
// CHECK: arith.shli %[[CARRIED]], %{{.*}} : vector<16xi32>
// CHECK: scf.yield %[[NEXT]]
// CHECK: arith.shli %[[LAST]]#0, %{{.*}} : vector<16xi32>
func.func @carried(%x: memref<128x384xbf16>, %map: memref<128xi32>, %n: memref<i32>,
                   %data: memref<128x384xf8E4M3FN>, %scale: memref<1536xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<128x384xbf16>, memref<128xi32>, memref<i32>)
    outs(%data, %scale : memref<128x384xf8E4M3FN>, memref<1536xf8E8M0FNU>)
  return
}

// -----

// Untouched: rows past n_used are not even visited. A live row gets its padding columns.
// CHECK-LABEL: func.func @untouched
// CHECK-SAME: %[[SCALE:[^ ]*]]: memref<512xf8E8M0FNU>)
// CHECK-DAG: %[[C3:.*]] = arith.constant 3 : index
// CHECK: %[[USED:.*]] = arith.minsi
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[USED]] step
// CHECK: scf.if %{{.*}} {
// CHECK: scf.for %{{.*}} to %[[C3]] step
// CHECK: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] : memref<512xf8E8M0FNU>, vector<1xf8E8M0FNU>
// CHECK: }
// CHECK: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] : memref<512xf8E8M0FNU>, vector<1xf8E8M0FNU>
// CHECK-NOT: else
// CHECK: return
func.func @untouched(%x: memref<100x96xbf16>, %map: memref<100xi32>, %n: memref<i32>,
                     %data: memref<100x96xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<100x96xbf16>, memref<100xi32>, memref<i32>)
    outs(%data, %scale : memref<100x96xf8E4M3FN>, memref<512xf8E8M0FNU>)
    dead_scales<untouched>
  return
}

// -----

// In row-major scales each row's are cleared or stored by themselves.
// CHECK-LABEL: func.func @linear
// CHECK-SAME: %[[SCALE:[^ ]*]]: memref<?x2xf8E8M0FNU>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK: %[[ROWS:.*]] = memref.dim
// CHECK: scf.for %[[ROW:.*]] = %[[C0]] to %[[ROWS]] step %[[C1]] {
// CHECK: scf.for %[[GROUP:.*]] = %[[C0]] to %[[C2]] step %[[C1]] {
// CHECK: vector.store %{{.*}}, %[[SCALE]][%[[ROW]], %[[GROUP]]] : memref<?x2xf8E8M0FNU>, vector<1xf8E8M0FNU>
// CHECK: } else {
// CHECK: scf.for %{{.*}} = %[[C0]] to %[[C2]] step %[[C1]] {
// CHECK: vector.store %{{.*}}, %[[SCALE]][%[[ROW]],
func.func @linear(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                  %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear>
  return
}

// -----

// The maxima of four groups are one tree: first within each group, down to eight elements,
// then in pairs of groups. No bit is cleared before it: squares of a relu have no sign.
// CHECK-LABEL: func.func @four_maxima
// CHECK-NOT: arith.andi
// CHECK-NOT: vector.reduction
// CHECK: %[[A:.*]] = arith.mulf
// CHECK: %[[BITS:.*]] = arith.bitcast %[[A]] : vector<32xbf16> to vector<32xi16>
// CHECK-DAG: %[[LOWER:.*]] = vector.extract_strided_slice %[[BITS]] {offsets = [0], sizes = [16], strides = [1]}
// CHECK-DAG: %[[UPPER:.*]] = vector.extract_strided_slice %[[BITS]] {offsets = [16], sizes = [16], strides = [1]}
// CHECK: arith.maxsi %[[LOWER]], %[[UPPER]] : vector<16xi16>
// CHECK: %[[M0:.*]] = arith.maxsi %{{.*}} : vector<8xi16>
// CHECK: %[[M1:.*]] = arith.maxsi %{{.*}} : vector<8xi16>
// CHECK: %[[M2:.*]] = arith.maxsi %{{.*}} : vector<8xi16>
// CHECK: %[[M3:.*]] = arith.maxsi %{{.*}} : vector<8xi16>
// CHECK-DAG: vector.shuffle %[[M0]], %[[M1]] [0, 8, 1, 9, 4, 12, 5, 13]
// CHECK-DAG: vector.shuffle %[[M0]], %[[M1]] [2, 10, 3, 11, 6, 14, 7, 15]
// CHECK: %[[M01:.*]] = arith.maxsi
// CHECK-DAG: vector.shuffle %[[M2]], %[[M3]] [0, 8, 1, 9, 4, 12, 5, 13]
// CHECK-DAG: vector.shuffle %[[M2]], %[[M3]] [2, 10, 3, 11, 6, 14, 7, 15]
// CHECK: %[[M23:.*]] = arith.maxsi
// CHECK-DAG: vector.shuffle %[[M01]], %[[M23]] [0, 1, 8, 9, 4, 5, 12, 13]
// CHECK-DAG: vector.shuffle %[[M01]], %[[M23]] [2, 3, 10, 11, 6, 7, 14, 15]
// CHECK: arith.maxsi %{{.*}} : vector<8xi16>
// CHECK: %[[M:.*]] = arith.maxsi %{{.*}} : vector<4xi16>
// CHECK: arith.extui %[[M]] : vector<4xi16> to vector<4xi32>
// No sign is put aside, and of NaN, of infinity times 0, the same minimum makes all ones.
// CHECK: %[[WIDE:.*]] = arith.extf %{{.*}} : vector<4xbf16> to vector<4xf32>
// CHECK: vector.extract %[[WIDE]][0]
// CHECK-NOT: arith.select
// CHECK: vector.extract %[[WIDE]][3]
// CHECK-NOT: arith.select
// CHECK: vector.store
func.func @four_maxima(%x: memref<1x128xbf16>, %map: memref<1xi32>, %n: memref<i32>,
                       %data: memref<1x128xf8E4M3FN>, %scale: memref<1x4xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<1x128xbf16>, memref<1xi32>, memref<i32>)
    outs(%data, %scale : memref<1x128xf8E4M3FN>, memref<1x4xf8E8M0FNU>)
    scale_layout<linear>
  return
}

// -----

// The quantisation alone keeps signs. In the maximum, NaN in magnitudes is below 0 once 127
// is added, and so counts for nothing. In the data signs are put aside, and NaN (0x7f) gets
// none.
// CHECK-LABEL: func.func @signs
// CHECK-DAG: %[[BIAS:.*]] = arith.constant 127 : i16
// CHECK-DAG: %[[BIASES:.*]] = arith.constant dense<127> : vector<32xi16>
// CHECK-DAG: %[[MASK:.*]] = arith.constant dense<32767> : vector<32xi16>
// CHECK-DAG: %[[WIDE_MASK:.*]] = arith.constant dense<2147483647> : vector<16xi32>
// CHECK-DAG: %[[SIGN:.*]] = arith.constant dense<128> : vector<32xi16>
// CHECK-DAG: %[[GREATEST:.*]] = arith.constant dense<17392> : vector<32xi16>
// CHECK-DAG: %[[MAGIC:.*]] = arith.constant dense<1.638400e+04> : vector<16xf32>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<32xi16>
// CHECK: %[[V:.*]] = vector.load
// CHECK: %[[BITS:.*]] = arith.bitcast %[[V]] : vector<32xbf16> to vector<32xi16>
// CHECK: %[[MAGNITUDES:.*]] = arith.andi %[[BITS]], %[[MASK]]
// CHECK: %[[BIASED:.*]] = arith.addi %[[MAGNITUDES]], %[[BIASES]]
// CHECK: %[[M:.*]] = vector.reduction <maxsi>, %[[BIASED]] : vector<32xi16> into i16
// CHECK: %[[LEAST:.*]] = arith.maxsi %[[M]], %[[BIAS]]
// CHECK: arith.subi %[[LEAST]], %[[BIAS]]
// CHECK: %[[UPPER:.*]] = arith.shrui %[[BITS]], %[[EIGHT]]
// CHECK: %[[SIGNS:.*]] = arith.andi %[[UPPER]], %[[SIGN]]
// CHECK: arith.andi %{{.*}}, %[[WIDE_MASK]]
// CHECK: %[[EVEN:.*]] = arith.mulf %{{.*}}, %[[FACTOR:.*]] : vector<16xf32>
// CHECK: arith.addf %[[EVEN]], %[[MAGIC]]
// CHECK: arith.andi %{{.*}}, %[[WIDE_MASK]]
// CHECK: %[[ODD:.*]] = arith.mulf %{{.*}}, %[[FACTOR]] : vector<16xf32>
// CHECK: arith.addf %[[ODD]], %[[MAGIC]]
// CHECK: arith.minui %{{.*}}, %[[GREATEST]] : vector<32xi16>
// CHECK: %[[NORMAL:.*]] = arith.shrsi
// CHECK: %[[SUBNORMAL:.*]] = arith.minui %{{.*}}, %[[EIGHT]] : vector<32xi16>
// CHECK: %[[MAGNITUDE:.*]] = arith.maxsi %[[NORMAL]], %[[SUBNORMAL]]
// CHECK: %[[IS_NAN:.*]] = arith.cmpi eq, %[[NORMAL]], %[[BIASES]]
// CHECK: %[[SIGNED:.*]] = arith.ori %[[MAGNITUDE]], %[[SIGNS]]
// CHECK: %[[R:.*]] = arith.select %[[IS_NAN]], %[[NORMAL]], %[[SIGNED]]
// CHECK: arith.trunci %[[R]] : vector<32xi16> to vector<32xi8>
func.func @signs(%x: memref<1x32xbf16>, %map: memref<1xi32>, %n: memref<i32>,
                 %data: memref<1x32xf8E4M3FN>, %scale: memref<1x1xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<1x32xbf16>, memref<1xi32>, memref<i32>)
    outs(%data, %scale : memref<1x32xf8E4M3FN>, memref<1x1xf8E8M0FNU>)
    scale_layout<linear>
  return
}

// -----

func.func @tensors(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                   %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected memrefs for convert-moe-to-scf, found tensors: run one-shot-bufferize before it}}
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}
