// Ops that gather rows of x, in their textual and binary forms, and what folds into them.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt --mlir-print-op-generic %s | moe-opt | FileCheck %s
// RUN: moe-opt --emit-bytecode %s | moe-opt | FileCheck %s
// RUN: moe-opt %s --moe-generalize | FileCheck %s --check-prefix=GENERIC
// RUN: moe-opt %s -resolve-ranked-shaped-type-result-dims -canonicalize 2>%t | FileCheck %s --check-prefix=FOLD
// RUN: FileCheck %s --check-prefix=WARNING < %t
// RUN: moe-opt %s -loop-invariant-code-motion | FileCheck %s --check-prefix=HOIST

// CHECK-LABEL: func @permute_tokens
// CHECK: moe.permute_tokens ins(%{{.*}}, %{{.*}}, %{{.*}} : memref<7x64xbf16>, memref<?xi32>, memref<1xi32>) outs(%{{.*}} : memref<300x64xbf16>){{$}}
// CHECK: moe.permute_tokens ins({{.*}}) outs({{.*}}) dead_rows<zero>{{$}}
// GENERIC-LABEL: func @permute_tokens
// GENERIC: moe.map_rows ins({{.*}} : memref<7x64xbf16>, memref<?xi32>, memref<1xi32>) gathers outs(%{{.*}} : memref<300x64xbf16>) format(#moe.bf16) kernel_name("permute_tokens") {
// GENERIC-NEXT: ^bb0(%[[V:.*]]: bf16):
// GENERIC-NEXT: moe.yield %[[V]] : bf16
// GENERIC: moe.map_rows {{.*}} gathers outs({{.*}}) format(#moe.bf16) dead_rows<zero> kernel_name("permute_tokens_zeroed") {
func.func @permute_tokens(%x: memref<7x64xbf16>, %map: memref<?xi32>, %n: memref<1xi32>,
                          %out: memref<300x64xbf16>) {
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<300x64xbf16>) dead_rows<untouched>
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<300x64xbf16>) dead_rows<zero>
  return
}

// CHECK-LABEL: func @permute_quantize
// CHECK: moe.permute_quantize_mxfp8 ins(%{{.*}}, %{{.*}}, %{{.*}} : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>) outs(%{{.*}}, %{{.*}} : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) dead_rows<zero> scale_layout<linear> dead_scales<untouched> -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
// GENERIC-LABEL: func @permute_quantize
// GENERIC: moe.map_rows {{.*}} gathers outs({{.*}}) format(#moe.mxfp8<scale_layout = linear, dead_scales = untouched>) dead_rows<zero> kernel_name("permute_quantize_mxfp8_zeroed") {
func.func @permute_quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                            %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %0:2 = moe.permute_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    dead_rows<zero> scale_layout<linear> dead_scales<untouched>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %0#0, %0#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}

// Anything may be computed of the rows that are gathered.
// CHECK-LABEL: func @map_rows
// CHECK: moe.map_rows ins(%{{.*}}, %{{.*}}, %{{.*}} : memref<7x128xbf16>, memref<300xi32>, memref<i32>) gathers probs(%{{.*}} : memref<300xf32>) outs(%{{.*}} : memref<300x64xbf16>) pairs<halves> format(#moe.bf16) {
func.func @map_rows(%x: memref<7x128xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                    %probs: memref<300xf32>, %out: memref<300x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<7x128xbf16>, memref<300xi32>, memref<i32>) gathers
    probs(%probs : memref<300xf32>) outs(%out : memref<300x64xbf16>) pairs<halves>
    format(#moe.bf16) {
  ^bb0(%a: bf16, %b: bf16, %prob: f32):
    %c = arith.mulf %a, %b : bf16
    moe.yield %c : bf16
  }
  return
}

// The size of a result is that of its destination.
// FOLD-LABEL: func @shapes
// FOLD-SAME: %[[OUT:[^ ]*]]: tensor<?x64xbf16>)
// FOLD: %[[ROWS:.*]] = tensor.dim %[[OUT]], %c0
// FOLD-NOT: moe.
// FOLD: return %[[ROWS]]
func.func @shapes(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                  %out: tensor<?x64xbf16>) -> index {
  %c0 = arith.constant 0 : index
  %r = moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %rows = tensor.dim %r, %c0 : tensor<?x64xbf16>
  return %rows : index
}

// Casts fold, whatever the rows of x are.
// FOLD-LABEL: func @casts
// FOLD: moe.permute_tokens ins(%{{.*}} : memref<7x64xbf16>, memref<300xi32>, memref<i32>) outs(%{{.*}} : memref<300x64xbf16>)
func.func @casts(%x: memref<7x64xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                 %out: memref<300x64xbf16>) {
  %0 = memref.cast %x : memref<7x64xbf16> to memref<?x64xbf16>
  %1 = memref.cast %map : memref<300xi32> to memref<?xi32>
  %2 = memref.cast %out : memref<300x64xbf16> to memref<?x?xbf16>
  moe.permute_tokens ins(%0, %1, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%2 : memref<?x?xbf16>)
  return
}

// FOLD-LABEL: func @contradiction
// FOLD-SAME: %[[OUT:[^ ]*]]: tensor<300x64xbf16>)
// FOLD-NOT: moe.
// FOLD: return %[[OUT]]
// WARNING: the results are undefined, as sizes contradict each other across a tensor.cast: expected 'permutation_map' to be a vector [300] of i32, found 'tensor<7xi32>' (C3)
func.func @contradiction(%x: tensor<7x64xbf16>, %map: tensor<7xi32>, %n: tensor<i32>,
                         %out: tensor<300x64xbf16>) -> tensor<300x64xbf16> {
  %0 = tensor.cast %map : tensor<7xi32> to tensor<?xi32>
  %r = moe.permute_tokens ins(%x, %0, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<300x64xbf16>) -> tensor<300x64xbf16>
  return %r : tensor<300x64xbf16>
}

// On tensors they are pure.
// HOIST-LABEL: func @hoist
// HOIST: moe.permute_tokens
// HOIST: scf.for
func.func @hoist(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                 %out: tensor<?x64xbf16>, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %end step %c1 {
    %r = moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
      outs(%out : tensor<?x64xbf16>) -> tensor<?x64xbf16>
    func.call @use(%r) : (tensor<?x64xbf16>) -> ()
  }
  return
}
func.func private @use(tensor<?x64xbf16>)
