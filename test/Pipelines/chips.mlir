// Every supported chip gets PTX of its own, in a version that it has, with the accesses
// and the conversion that it has.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_80 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_80 -DPTX=7.0 --check-prefixes=CHECK,V4,INT
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_86 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_86 -DPTX=7.1 --check-prefixes=CHECK,V4,INT
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_89 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_89 -DPTX=8.1 --check-prefixes=CHECK,V4,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_90 -DPTX=8.0 --check-prefixes=CHECK,V4,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90a | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_90a -DPTX=8.0 --check-prefixes=CHECK,V4,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_100 -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100a | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_100a -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100f | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_100f -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_103 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_103 -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_103a | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_103a -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_103f | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_103f -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_110 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_110 -DPTX=9.0 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_110a | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_110a -DPTX=9.0 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_110f | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_110f -DPTX=9.0 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_120 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_120 -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_120a | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_120a -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_120f | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_120f -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_121 | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_121 -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_121a | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_121a -DPTX=8.8 --check-prefixes=CHECK,V8,HW
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_121f | moe-translate --moe-to-ptx | FileCheck %s -DCHIP=sm_121f -DPTX=8.8 --check-prefixes=CHECK,V8,HW

// CHECK: .version [[PTX]]{{$}}
// CHECK: .target [[CHIP]]{{$}}
// CHECK-NOT: .extern
// CHECK: .visible .entry squared_relu_quantize_mxfp8(
// V4-NOT: .global.v8
// V4: ld.global.v4.b32
// V8: ld.global.v8.b32
// HW: cvt.rn.satfinite.e4m3x2.f32
// INT-NOT: e4m3
// V4: st.global.v2.b32
// V8: st.global.v4.b32
// CHECK: ret;
// CHECK: .visible .entry squared_relu_quantize_mxfp8_unaligned(
// INT-NOT: e4m3
// CHECK: ret;
// CHECK: .visible .entry padded_squared_relu(
// V4: ld.global.v4.b32
// V4: st.global.v4.b32
// V8: ld.global.v8.b32
// V8: st.global.v8.b32
// V4-NOT: .global.v8
// CHECK: ret;
module {
  func.func @both(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                  %data: memref<?x1856xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>,
                  %out: memref<?x1856xbf16>) {
    moe.squared_relu_quantize_mxfp8
      ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
      outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
    moe.padded_squared_relu
      ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
      outs(%out : memref<?x1856xbf16>)
    return
  }
}
