// What is proven of an activation decides how the maximum of a group is found: signs are
// cleared, and NaN is filtered out, unless there are none.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt --convert-moe-to-gpu --split-input-file %s | FileCheck %s

!x = memref<128x1024xbf16>
!data = memref<128x1024xf8E4M3FN>
!scale = memref<4096xf8E8M0FNU>

// The identity is not known for anything.
// CHECK-LABEL: gpu.func @identity
// CHECK:         dense<32767>
func.func @identity(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %data: !data, %scale: !scale) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>)
    outs(%data, %scale : !data, !scale) format(#moe.mxfp8) kernel_name("identity") {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

!x = memref<128x1024xbf16>
!data = memref<128x1024xf8E4M3FN>
!scale = memref<4096xf8E8M0FNU>

// The square of what is no NaN.
// CHECK-LABEL: gpu.func @squared_relu
// CHECK-NOT:     dense<32767>
// CHECK-LABEL: gpu.func @squared_relu_unaligned
// CHECK-NOT:     dense<32767>
func.func @squared_relu(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %data: !data, %scale: !scale) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>)
    outs(%data, %scale : !data, !scale) format(#moe.mxfp8) kernel_name("squared_relu") {
  ^bb0(%v: bf16):
    %zero = arith.constant 0.0 : bf16
    %relu = arith.maxnumf %v, %zero : bf16
    %square = arith.mulf %relu, %relu : bf16
    moe.yield %square : bf16
  }
  return
}

// -----

!x = memref<128x1024xbf16>
!data = memref<128x1024xf8E4M3FN>
!scale = memref<4096xf8E8M0FNU>

// A square may be NaN.
// CHECK-LABEL: gpu.func @square
// CHECK:         dense<32767>
func.func @square(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %data: !data, %scale: !scale) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>)
    outs(%data, %scale : !data, !scale) format(#moe.mxfp8) kernel_name("square") {
  ^bb0(%v: bf16):
    %square = arith.mulf %v, %v : bf16
    moe.yield %square : bf16
  }
  return
}

// -----

!x = memref<128x1024xbf16>
!data = memref<128x1024xf8E4M3FN>
!scale = memref<4096xf8E8M0FNU>

// maximumNumber with 0 may be -0.
// CHECK-LABEL: gpu.func @relu
// CHECK:         dense<32767>
func.func @relu(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %data: !data, %scale: !scale) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>)
    outs(%data, %scale : !data, !scale) format(#moe.mxfp8) kernel_name("relu") {
  ^bb0(%v: bf16):
    %zero = arith.constant 0.0 : bf16
    %relu = arith.maxnumf %v, %zero : bf16
    moe.yield %relu : bf16
  }
  return
}

// -----

!x = memref<128x1024xbf16>
!data = memref<128x1024xf8E4M3FN>
!scale = memref<4096xf8E8M0FNU>

// Through a wider type, a sum, a choice: neither NaN nor negative.
// CHECK-LABEL: gpu.func @biased_square
// CHECK-NOT:     dense<32767>
// CHECK-LABEL: gpu.func @biased_square_unaligned
func.func @biased_square(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %data: !data, %scale: !scale) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>)
    outs(%data, %scale : !data, !scale) format(#moe.mxfp8) kernel_name("biased_square") {
  ^bb0(%v: bf16):
    %one = arith.constant 1.0 : bf16
    %half = arith.constant 0.5 : f32
    %least = arith.maxnumf %v, %one : bf16
    %wide = arith.extf %least : bf16 to f32
    %square = arith.mulf %wide, %wide : f32
    %sum = arith.addf %square, %half : f32
    %isLess = arith.cmpf olt, %sum, %half : f32
    %chosen = arith.select %isLess, %half, %sum : f32
    %a = arith.truncf %chosen : f32 to bf16
    moe.yield %a : bf16
  }
  return
}

// -----

!x = memref<128x1024xbf16>
!data = memref<128x1024xf8E4M3FN>
!scale = memref<4096xf8E8M0FNU>

// inf - inf.
// CHECK-LABEL: gpu.func @difference
// CHECK:         dense<32767>
func.func @difference(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %data: !data, %scale: !scale) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>)
    outs(%data, %scale : !data, !scale) format(#moe.mxfp8) kernel_name("difference") {
  ^bb0(%v: bf16):
    %least = arith.constant -1.0 : bf16
    %zero = arith.constant 0.0 : bf16
    %relu = arith.maxnumf %v, %zero : bf16
    %square = arith.mulf %relu, %relu : bf16
    %a = arith.addf %square, %least : bf16
    moe.yield %a : bf16
  }
  return
}

// -----

!x = memref<128x1024xbf16>
!out = memref<128x1024xbf16>

// Ops that differ in their region alone have kernels of their own.
// CHECK-LABEL: func.func @two_regions
// CHECK:         gpu.launch_func @moe_kernels::@[[FIRST:[a-z_0-9]+]]
// CHECK-NOT:     gpu.launch_func @moe_kernels::@[[FIRST]] blocks
// CHECK:         gpu.launch_func @moe_kernels::@[[SECOND:[a-z_]+_0]]
// CHECK:         gpu.launch_func @moe_kernels::@[[FIRST]] blocks
func.func @two_regions(%x: !x, %map: memref<128xi32>, %n: memref<i32>, %out: !out) {
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>) outs(%out : !out)
    format(#moe.bf16) {
  ^bb0(%v: bf16):
    %a = arith.negf %v : bf16
    moe.yield %a : bf16
  }
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>) outs(%out : !out)
    format(#moe.bf16) {
  ^bb0(%v: bf16):
    %a = math.absf %v : bf16
    moe.yield %a : bf16
  }
  moe.map_rows ins(%x, %map, %n : !x, memref<128xi32>, memref<i32>) outs(%out : !out)
    format(#moe.bf16) {
  ^bb0(%w: bf16):
    %b = arith.negf %w : bf16
    moe.yield %b : bf16
  }
  return
}
