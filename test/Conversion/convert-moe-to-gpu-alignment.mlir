// The choice between the kernel with wide accesses and the one without: from types where
// they say enough, and otherwise from addresses and strides on the host.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-gpu -canonicalize -cse | FileCheck %s
// RUN: moe-opt %s -split-input-file -moe-choose-schedule=access-bytes=32 -convert-moe-to-gpu -canonicalize -cse | FileCheck %s --check-prefix=WIDE

// CHECK-LABEL: func.func @known_addresses
// CHECK-NOT: scf.if
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK-NOT: gpu.launch_func
// CHECK: gpu.func @padded_squared_relu(
// CHECK-NOT: gpu.func

// Accesses of 32 bytes need more than the 16 that are known of the destination.
// WIDE-LABEL: func.func @known_addresses
// WIDE: scf.if
// WIDE-NEXT: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
func.func @known_addresses(%map: memref<64xi32>, %n: memref<i32>, %out: memref<64x256xbf16>) {
  %x = memref.alloc() {alignment = 64 : i64} : memref<64x256xbf16>
  %aligned = memref.assume_alignment %out, 16 : memref<64x256xbf16>
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<64x256xbf16>, memref<64xi32>, memref<i32>)
    outs(%aligned : memref<64x256xbf16>)
  return
}

// -----

// CHECK-LABEL: func.func @one_unknown_address
// CHECK-SAME: %[[OUT:[^ ]*]]: memref<64x256xbf16>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C15:.*]] = arith.constant 15 : index
// CHECK: %[[ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %[[OUT]]
// CHECK-NEXT: %[[LOW:.*]] = arith.andi %[[ADDRESS]], %[[C15]]
// CHECK-NEXT: %[[ALIGNED:.*]] = arith.cmpi eq, %[[LOW]], %[[C0]]
// CHECK-NEXT: scf.if %[[ALIGNED]] {
// CHECK-NEXT: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK-NEXT: } else {
// CHECK-NEXT: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks

// WIDE-LABEL: func.func @one_unknown_address
// WIDE-DAG: %[[C31:.*]] = arith.constant 31 : index
// WIDE: arith.andi %{{.*}}, %[[C31]]
func.func @one_unknown_address(%map: memref<64xi32>, %n: memref<i32>, %out: memref<64x256xbf16>) {
  %x = memref.alloc() {alignment = 64 : i64} : memref<64x256xbf16>
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<64x256xbf16>, memref<64xi32>, memref<i32>)
    outs(%out : memref<64x256xbf16>)
  return
}

// -----

// An alignment of 8 bytes is known and not enough; what is asked is the address.
// CHECK-LABEL: func.func @small_alignment
// CHECK: memref.extract_aligned_pointer_as_index
// CHECK: scf.if
func.func @small_alignment(%map: memref<64xi32>, %n: memref<i32>, %out: memref<64x256xbf16>) {
  %x = memref.alloc() {alignment = 8 : i64} : memref<64x256xbf16>
  %aligned = memref.assume_alignment %out, 16 : memref<64x256xbf16>
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<64x256xbf16>, memref<64xi32>, memref<i32>)
    outs(%aligned : memref<64x256xbf16>)
  return
}

// -----

// 1021 columns: rows that follow each other cannot all be aligned.
// CHECK-LABEL: func.func @odd_columns
// CHECK-NOT: scf.if
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK: gpu.func @padded_squared_relu_unaligned(
// CHECK-NOT: gpu.func
func.func @odd_columns(%x: memref<?x1021xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                       %out: memref<?x1021xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1021xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1021xbf16>)
  return
}

// -----

// 8 columns are whole vectors of 16 bytes, but not of 32.
// CHECK-LABEL: func.func @eight_columns
// CHECK: scf.if
// WIDE-LABEL: func.func @eight_columns
// WIDE-NOT: scf.if
// WIDE: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
func.func @eight_columns(%x: memref<?x8xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                         %out: memref<?x8xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x8xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x8xbf16>)
  return
}

// -----

// Offset, row stride and number of columns are known when the program runs.
// CHECK-LABEL: func.func @everything_dynamic
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x?xbf16, strided<[?, 1], offset: ?>>
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK-DAG: %[[C15:.*]] = arith.constant 15 : index
// CHECK: %[[ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %[[X]]
// CHECK: %{{.*}}, %[[OFFSET:.*]], %{{.*}}:2, %[[STRIDES:.*]]:2 = memref.extract_strided_metadata %[[X]]
// CHECK: %[[OFFSET_BYTES:.*]] = arith.muli %[[OFFSET]], %[[C2]]
// CHECK: %[[START:.*]] = arith.addi %[[ADDRESS]], %[[OFFSET_BYTES]]
// CHECK: %[[LOW_START:.*]] = arith.andi %[[START]], %[[C15]]
// CHECK: %[[STRIDE_BYTES:.*]] = arith.muli %[[STRIDES]]#0, %[[C2]]
// CHECK: %[[LOW_STRIDE:.*]] = arith.andi %[[STRIDE_BYTES]], %[[C15]]
// CHECK: %[[LOW_ROWS:.*]] = arith.ori %[[LOW_START]], %[[LOW_STRIDE]]
// CHECK: %[[COLUMNS:.*]] = memref.dim %[[X]], %[[C1]]
// CHECK: %[[ROW_BYTES:.*]] = arith.muli %[[COLUMNS]], %[[C2]]
// CHECK: %[[LOW_ROW:.*]] = arith.andi %[[ROW_BYTES]], %[[C15]]
// CHECK: %[[LOW_X:.*]] = arith.ori %[[LOW_ROWS]], %[[LOW_ROW]]
// CHECK: %[[LOW_START_OUT:.*]] = arith.andi
// CHECK: %[[LOW_STRIDE_OUT:.*]] = arith.andi
// CHECK: %[[LOW_OUT:.*]] = arith.ori %[[LOW_START_OUT]], %[[LOW_STRIDE_OUT]]
// CHECK: %[[LOW:.*]] = arith.ori %[[LOW_X]], %[[LOW_OUT]]
// CHECK: %[[OK:.*]] = arith.cmpi eq, %[[LOW]], %[[C0]]
// CHECK: scf.if %[[OK]]
func.func @everything_dynamic(%x: memref<?x?xbf16, strided<[?, 1], offset: ?>>, %map: memref<?xi32>,
                              %n: memref<i32>, %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// -----

// The swizzled scales are cleared 16 bytes at once, so their address matters; a linear
// scale is written byte by byte.
// CHECK-LABEL: func.func @scale_address
// CHECK-SAME: %[[SCALE:[^ ]*]]: memref<512xf8E8M0FNU>, %[[LINEAR:[^ ]*]]: memref<64x2xf8E8M0FNU>)
// CHECK: memref.extract_aligned_pointer_as_index %[[SCALE]]
// CHECK: scf.if
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8 blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8_unaligned blocks
// CHECK-NOT: memref.extract_aligned_pointer_as_index
// CHECK-NOT: scf.if
// CHECK: gpu.launch_func @moe_kernels::@{{.*}} args({{.*}}%[[LINEAR]] : memref<64x2xf8E8M0FNU>)
// CHECK-NOT: scf.if
// CHECK: return
func.func @scale_address(%map: memref<64xi32>, %n: memref<i32>, %scale: memref<512xf8E8M0FNU>,
                         %linear: memref<64x2xf8E8M0FNU>) {
  %x = memref.alloc() {alignment = 64 : i64} : memref<64x64xbf16>
  %data = memref.alloc() {alignment = 64 : i64} : memref<64x64xf8E4M3FN>
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<64x64xbf16>, memref<64xi32>, memref<i32>)
    outs(%data, %scale : memref<64x64xf8E4M3FN>, memref<512xf8E8M0FNU>)
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<64x64xbf16>, memref<64xi32>, memref<i32>)
    outs(%data, %linear : memref<64x64xf8E4M3FN>, memref<64x2xf8E8M0FNU>) scale_layout<linear>
  return
}

// -----

// E4M3 needs half of the alignment that bf16 does; scales that are cleared need 16 bytes.
// CHECK-LABEL: func.func @quantize
// CHECK-SAME: %[[DATA:[^ ]*]]: memref<64x256xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<
// CHECK-DAG: %[[C7:.*]] = arith.constant 7 : index
// CHECK-DAG: %[[C15:.*]] = arith.constant 15 : index
// CHECK: %[[DATA_ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %[[DATA]]
// CHECK-NEXT: arith.andi %[[DATA_ADDRESS]], %[[C7]]
// CHECK: %[[SCALE_ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %[[SCALE]]
// CHECK-NEXT: arith.andi %[[SCALE_ADDRESS]], %[[C15]]
// WIDE-LABEL: func.func @quantize
// WIDE-SAME: %[[DATA:[^ ]*]]: memref<64x256xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<
// WIDE-DAG: %[[C15:.*]] = arith.constant 15 : index
// WIDE: %[[DATA_ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %[[DATA]]
// WIDE-NEXT: arith.andi %[[DATA_ADDRESS]], %[[C15]]
// WIDE: %[[SCALE_ADDRESS:.*]] = memref.extract_aligned_pointer_as_index %[[SCALE]]
// WIDE-NEXT: arith.andi %[[SCALE_ADDRESS]], %[[C15]]
func.func @quantize(%map: memref<64xi32>, %n: memref<i32>, %data: memref<64x256xf8E4M3FN>,
                    %scale: memref<1024xf8E8M0FNU>) {
  %x = memref.alloc() {alignment = 64 : i64} : memref<64x256xbf16>
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<64x256xbf16>, memref<64xi32>, memref<i32>)
    outs(%data, %scale : memref<64x256xf8E4M3FN>, memref<1024xf8E8M0FNU>)
  return
}
