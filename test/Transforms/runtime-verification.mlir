// What the verifier cannot see of dynamic sizes becomes assertions, with the numbers of
// the constraints.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -generate-runtime-verification -split-input-file | FileCheck %s
// RUN: moe-opt %s -generate-runtime-verification -canonicalize -split-input-file | FileCheck %s --check-prefix=FOLDED

// CHECK-LABEL: func @activation
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x?xbf16>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[N:[^ ]*]]: memref<i32>, %[[OUT:[^ ]*]]: memref<?x?xbf16>)
// CHECK: %[[ROWS:.*]] = memref.dim %[[X]], %c0
// CHECK: %[[COLUMNS:.*]] = memref.dim %[[X]], %c1
// CHECK: %[[ENTRIES:.*]] = memref.dim %[[MAP]]
// CHECK: %[[C3:.*]] = arith.cmpi eq, %[[ENTRIES]], %[[ROWS]] : index
// CHECK: cf.assert %[[C3]], "{{.*}}moe.padded_squared_relu{{.*}}expected 'permutation_map' to have as many elements as 'x' has rows (C3)
// CHECK: %[[OUT_ROWS:.*]] = memref.dim %[[OUT]], %c0
// CHECK: %[[C5_ROWS:.*]] = arith.cmpi eq, %[[OUT_ROWS]], %[[ROWS]] : index
// CHECK: cf.assert %[[C5_ROWS]], "{{.*}}expected the destination to have as many rows as 'x' (C5)
// CHECK: %[[OUT_COLUMNS:.*]] = memref.dim %[[OUT]], %c1
// CHECK: %[[C5_COLUMNS:.*]] = arith.cmpi eq, %[[OUT_COLUMNS]], %[[COLUMNS]] : index
// CHECK: cf.assert %[[C5_COLUMNS]], "{{.*}}expected the destination to have as many columns as 'x' (C5)
// CHECK-NOT: cf.assert
// CHECK: moe.padded_squared_relu
// CHECK-NOT: cf.assert
func.func @activation(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// -----

// CHECK-LABEL: func @swizzled
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x?xbf16>, {{.*}}, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU>)
// CHECK: %[[ROWS:.*]] = memref.dim %[[X]], %c0
// CHECK: %[[COLUMNS:.*]] = memref.dim %[[X]], %c1
// CHECK: cf.assert {{.*}} (C3)
// CHECK: cf.assert {{.*}} (C5)
// CHECK: cf.assert {{.*}} (C5)
// CHECK: %[[REST:.*]] = arith.remui %[[COLUMNS]], %c32
// CHECK: %[[C8:.*]] = arith.cmpi eq, %[[REST]], %c0
// CHECK: cf.assert %[[C8]], "{{.*}}expected the columns of 'x' to be a multiple of 32 (C8)
// CHECK: %[[ROW_TILES:.*]] = arith.ceildivui %[[ROWS]], %c128
// CHECK: %[[COLUMN_TILES:.*]] = arith.ceildivui %[[COLUMNS]], %c128
// CHECK: %[[TILES:.*]] = arith.muli %[[ROW_TILES]], %[[COLUMN_TILES]] : index
// CHECK: %[[BYTES:.*]] = arith.muli %[[TILES]], %c512
// CHECK: %[[SIZE:.*]] = memref.dim %[[SCALE]]
// CHECK: %[[C9:.*]] = arith.cmpi eq, %[[SIZE]], %[[BYTES]] : index
// CHECK: cf.assert %[[C9]], "{{.*}}expected 'scale' to have ceil(M / 128) * ceil(K / 128) * 512 elements (C9)
// CHECK-NOT: cf.assert
// CHECK: moe.squared_relu_quantize_mxfp8
func.func @swizzled(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %data: memref<?x?xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// -----

// CHECK-LABEL: func @linear
// CHECK-SAME: (%[[X:[^ ]*]]: tensor<?x?xbf16>, {{.*}}, %[[SCALE:[^ ]*]]: tensor<?x?xf8E8M0FNU>)
// CHECK: %[[ROWS:.*]] = tensor.dim %[[X]], %c0
// CHECK: %[[COLUMNS:.*]] = tensor.dim %[[X]], %c1
// CHECK: cf.assert {{.*}} (C8)
// CHECK: %[[SCALE_ROWS:.*]] = tensor.dim %[[SCALE]], %c0
// CHECK: %[[C9_ROWS:.*]] = arith.cmpi eq, %[[SCALE_ROWS]], %[[ROWS]] : index
// CHECK: cf.assert %[[C9_ROWS]], "{{.*}}expected 'scale' to have as many rows as 'x' (C9)
// CHECK: %[[GROUPS:.*]] = arith.divui %[[COLUMNS]], %c32
// CHECK: %[[SCALE_COLUMNS:.*]] = tensor.dim %[[SCALE]], %c1
// CHECK: %[[C9_COLUMNS:.*]] = arith.cmpi eq, %[[SCALE_COLUMNS]], %[[GROUPS]] : index
// CHECK: cf.assert %[[C9_COLUMNS]], "{{.*}}expected 'scale' to have a column for each 32 of 'x' (C9)
// CHECK: moe.quantize_mxfp8
func.func @linear(%x: tensor<?x?xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                  %data: tensor<?x?xf8E4M3FN>, %scale: tensor<?x?xf8E8M0FNU>)
    -> (tensor<?x?xf8E4M3FN>, tensor<?x?xf8E8M0FNU>) {
  %q:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x?xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x?xf8E4M3FN>, tensor<?x?xf8E8M0FNU>)
    scale_layout<linear> -> tensor<?x?xf8E4M3FN>, tensor<?x?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x?xf8E4M3FN>, tensor<?x?xf8E8M0FNU>
}

// -----

// What the verifier saw already folds away.
// CHECK-LABEL: func @static
// FOLDED-LABEL: func @static
// FOLDED-NEXT: moe.quantize_mxfp8
// FOLDED-NEXT: return
func.func @static(%x: memref<300x160xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                  %data: memref<300x160xf8E4M3FN>, %scale: memref<3072xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<300x160xbf16>, memref<300xi32>, memref<i32>)
    outs(%data, %scale : memref<300x160xf8E4M3FN>, memref<3072xf8E8M0FNU>)
  return
}
