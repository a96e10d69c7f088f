// Every op survives the trip through text, through the generic form and through bytecode.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt %s --mlir-print-op-generic | moe-opt | FileCheck %s
// RUN: moe-opt %s -emit-bytecode | moe-opt | FileCheck %s

// CHECK-LABEL: func @activation_on_memrefs
// CHECK-SAME: (%[[X:.*]]: memref<?x?xbf16>, %[[MAP:.*]]: memref<?xi32>, %[[N:.*]]: memref<i32>, %[[OUT:.*]]: memref<?x?xbf16>)
// CHECK-NEXT: moe.padded_squared_relu ins(%[[X]], %[[MAP]], %[[N]] : memref<?x?xbf16>, memref<?xi32>, memref<i32>) outs(%[[OUT]] : memref<?x?xbf16>){{$}}
func.func @activation_on_memrefs(%x: memref<?x?xbf16>, %map: memref<?xi32>,
                                 %n: memref<i32>, %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// CHECK-LABEL: func @activation_on_tensors
// CHECK-SAME: (%[[X:.*]]: tensor<?x1856xbf16>, %[[MAP:.*]]: tensor<?xi32>, %[[N:.*]]: tensor<i32>, %[[INIT:.*]]: tensor<?x1856xbf16>)
// CHECK-NEXT: %[[R:.*]] = moe.padded_squared_relu ins(%[[X]], %[[MAP]], %[[N]] : tensor<?x1856xbf16>, tensor<?xi32>, tensor<i32>) outs(%[[INIT]] : tensor<?x1856xbf16>) -> tensor<?x1856xbf16>
// CHECK-NEXT: return %[[R]]
func.func @activation_on_tensors(%x: tensor<?x1856xbf16>, %map: tensor<?xi32>,
                                 %n: tensor<i32>, %init: tensor<?x1856xbf16>)
    -> tensor<?x1856xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x1856xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x1856xbf16>) -> tensor<?x1856xbf16>
  return %r : tensor<?x1856xbf16>
}

// n_used may be of rank 1 with one element, and dynamic sizes match static ones.
// CHECK-LABEL: func @static_sizes
// CHECK: moe.padded_squared_relu ins({{.*}} : memref<300x40xbf16>, memref<?xi32>, memref<1xi32>) outs(%{{.*}} : memref<?x40xbf16>){{$}}
func.func @static_sizes(%x: memref<300x40xbf16>, %map: memref<?xi32>,
                        %n: memref<1xi32>, %out: memref<?x40xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<300x40xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<?x40xbf16>)
  return
}

// Rows may have any stride and start anywhere, in any memory space.
// CHECK-LABEL: func @row_strides
// CHECK: moe.padded_squared_relu ins({{.*}} : memref<?x?xbf16, strided<[?, 1], offset: ?>, 1>, memref<?xi32, strided<[1], offset: 8>>, memref<i32, strided<[], offset: ?>>) outs(%{{.*}} : memref<?x?xbf16, strided<[2048, 1]>>){{$}}
func.func @row_strides(%x: memref<?x?xbf16, strided<[?, 1], offset: ?>, 1>,
                       %map: memref<?xi32, strided<[1], offset: 8>>,
                       %n: memref<i32, strided<[], offset: ?>>,
                       %out: memref<?x?xbf16, strided<[2048, 1]>>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>, 1>,
                       memref<?xi32, strided<[1], offset: 8>>,
                       memref<i32, strided<[], offset: ?>>)
    outs(%out : memref<?x?xbf16, strided<[2048, 1]>>)
  return
}

// The defaults of both attributes are not printed, however they were written.
// CHECK-LABEL: func @default_attributes
// CHECK-COUNT-3: moe.squared_relu_quantize_mxfp8 ins({{.*}}) outs({{.*}} : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>){{$}}
// CHECK-NEXT: return
func.func @default_attributes(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<1xi32>,
                              %data: memref<?x?xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
    scale_layout<swizzle_32_4_4>
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
    scale_layout<swizzle_32_4_4> dead_scales<zero>
  return
}

// CHECK-LABEL: func @attributes
// CHECK-NEXT: moe.quantize_mxfp8 ins({{.*}}) outs({{.*}} : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>) scale_layout<linear>{{$}}
// CHECK-NEXT: moe.quantize_mxfp8 ins({{.*}}) outs({{.*}} : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>) scale_layout<linear> dead_scales<untouched>{{$}}
// CHECK-NEXT: moe.quantize_mxfp8 ins({{.*}}) outs({{.*}} : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>) dead_scales<untouched> {note = "kept"}{{$}}
func.func @attributes(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %data: memref<?x64xf8E4M3FN>, %linear: memref<?x2xf8E8M0FNU>,
                      %swizzled: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %linear : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear>
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %linear : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched>
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %swizzled : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
    dead_scales<untouched> {note = "kept"}
  return
}

// 300 rows are 3 row tiles and 160 columns 2 column tiles, of 512 bytes each.
// CHECK-LABEL: func @quantize_on_tensors
// CHECK: %[[Q:.*]]:2 = moe.quantize_mxfp8 ins({{.*}} : tensor<300x160xbf16>, tensor<300xi32>, tensor<i32>) outs({{.*}} : tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>) -> tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>
// CHECK-NEXT: %[[F:.*]]:2 = moe.squared_relu_quantize_mxfp8 ins({{.*}}) outs(%[[Q]]#0, %[[Q]]#1 : {{.*}}) dead_scales<untouched> -> tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>
// CHECK-NEXT: return %[[F]]#0, %[[F]]#1
func.func @quantize_on_tensors(%x: tensor<300x160xbf16>, %map: tensor<300xi32>,
                               %n: tensor<i32>, %data: tensor<300x160xf8E4M3FN>,
                               %scale: tensor<3072xf8E8M0FNU>)
    -> (tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>) {
  %q:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<300x160xbf16>, tensor<300xi32>, tensor<i32>)
    outs(%data, %scale : tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>)
    -> tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>
  %f:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<300x160xbf16>, tensor<300xi32>, tensor<i32>)
    outs(%q#0, %q#1 : tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>)
    dead_scales<untouched>
    -> tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>
  return %f#0, %f#1 : tensor<300x160xf8E4M3FN>, tensor<3072xf8E8M0FNU>
}

// Tensors are values: a destination may be an input too, as two inputs may be the same
// buffer (C10).
// CHECK-LABEL: func @same_value
// CHECK-SAME: (%[[X:[^ ]*]]: tensor<1x8xbf16>, %{{.*}}, %[[ONE:[^ ]*]]: memref<1xi32>,
// CHECK: moe.padded_squared_relu ins(%[[X]], {{.*}}) outs(%[[X]] : tensor<1x8xbf16>)
// CHECK: moe.padded_squared_relu ins(%{{.*}}, %[[ONE]], %[[ONE]] : {{.*}})
func.func @same_value(%x: tensor<1x8xbf16>, %map: tensor<1xi32>, %n: tensor<i32>,
                      %one: memref<1xi32>, %y: memref<1x8xbf16>, %out: memref<1x8xbf16>)
    -> tensor<1x8xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<1x8xbf16>, tensor<1xi32>, tensor<i32>)
    outs(%x : tensor<1x8xbf16>) -> tensor<1x8xbf16>
  moe.padded_squared_relu
    ins(%y, %one, %one : memref<1x8xbf16>, memref<1xi32>, memref<1xi32>)
    outs(%out : memref<1x8xbf16>)
  return %r : tensor<1x8xbf16>
}

// The greatest operands there are, by size, stride and offset; no rows at all (C11).
// CHECK-LABEL: func @greatest_extents
// CHECK-COUNT-3: moe.padded_squared_relu
func.func @greatest_extents(%x: memref<144115188075855871x32xbf16>, %map: memref<?xi32>,
                            %n: memref<i32>,
                            %out: memref<2x32xbf16, strided<[4611686018427387860, 1], offset: 11>>,
                            %y: memref<0x32xbf16, strided<[4611686018427387904, 1]>>,
                            %z: memref<0x32xbf16>) {
  %0 = memref.cast %map : memref<?xi32> to memref<144115188075855871xi32>
  %1 = memref.cast %x : memref<144115188075855871x32xbf16> to memref<?x?xbf16>
  moe.padded_squared_relu
    ins(%x, %0, %n : memref<144115188075855871x32xbf16>, memref<144115188075855871xi32>, memref<i32>)
    outs(%1 : memref<?x?xbf16>)
  moe.padded_squared_relu
    ins(%1, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<2x32xbf16, strided<[4611686018427387860, 1], offset: 11>>)
  moe.padded_squared_relu
    ins(%y, %map, %n : memref<0x32xbf16, strided<[4611686018427387904, 1]>>, memref<?xi32>, memref<i32>)
    outs(%z : memref<0x32xbf16>)
  return
}

// The attributes also stand alone.
// CHECK-LABEL: func @attributes_elsewhere
// CHECK-SAME: attributes {a = #moe.scale_layout<linear>, b = #moe.dead_scales<untouched>}
func.func @attributes_elsewhere()
    attributes {a = #moe.scale_layout<linear>, b = #moe.dead_scales<untouched>} {
  return
}
