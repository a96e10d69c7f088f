// What convert-moe-to-gpu chose, as remarks.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s --convert-moe-to-gpu --remarks-filter=moe-schedule 2>&1 >%t | FileCheck %s
// RUN: moe-opt %s --moe-lower-to-ptx=chip=sm_100 --remarks-filter-passed=moe-schedule 2>&1 >%t \
// RUN: | FileCheck %s --check-prefix=WIDE
// RUN: moe-opt %s --convert-moe-to-gpu 2>&1 >%t | FileCheck %s --check-prefix=SILENT --allow-empty

// SILENT-NOT: remark

// WIDE: schedule-remarks.mlir:[[#@LINE+9]]:3: remark: {{.*}}Function=padded_squared_relu {{.*}}a warp takes 1024 columns of a row, 2 accesses of 32 bytes a lane
// WIDE-NOT: remark: {{.*}}Function={{.*}}_unaligned

// CHECK: schedule-remarks.mlir:[[#@LINE+6]]:3: remark: [Passed] {{.*}}Category:moe-schedule | Function=padded_squared_relu |
// CHECK-SAME: 256 threads a CTA; a warp takes 1024 columns of a row, 4 accesses of 16 bytes a lane; rows one by one; a row for a warp and 1024 KiB of them at most are loaded before it is known which are live"
// CHECK: schedule-remarks.mlir:[[#@LINE+4]]:3: remark: [Missed] {{.*}}Function=padded_squared_relu_unaligned |
// CHECK-SAME: a warp takes 64 columns of a row, 2 accesses of 2 bytes a lane; rows one by one; for rows that may start anywhere"
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}

// CHECK: remark: [Passed] {{.*}}Function=quantize_mxfp8 |
// CHECK-SAME: rows by quads that share 16 bytes of scales if there are enough for all warps, else one by one"
func.func @quantize(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %data: memref<?x1856xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// CHECK: remark: [Passed] {{.*}}Function=padded_swiglu |
// CHECK-SAME: a warp takes 512 columns of a row, 2 accesses of 16 bytes a lane; rows one by one; a row for a warp and 1024 KiB of them at most are loaded before it is known which are live, 256 columns a warp"
func.func @pairs(%x: memref<?x3712xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                 %out: memref<?x1856xbf16>) {
  moe.padded_swiglu
    ins(%x, %map, %n : memref<?x3712xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
