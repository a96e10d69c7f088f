// ptxas takes the PTX of every supported chip.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// REQUIRES: ptxas
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_80 | moe-translate --moe-to-ptx -o %t.sm_80.ptx && %ptxas -arch=sm_80 %t.sm_80.ptx -o %t.sm_80.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_86 | moe-translate --moe-to-ptx -o %t.sm_86.ptx && %ptxas -arch=sm_86 %t.sm_86.ptx -o %t.sm_86.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_89 | moe-translate --moe-to-ptx -o %t.sm_89.ptx && %ptxas -arch=sm_89 %t.sm_89.ptx -o %t.sm_89.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90 | moe-translate --moe-to-ptx -o %t.sm_90.ptx && %ptxas -arch=sm_90 %t.sm_90.ptx -o %t.sm_90.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90a | moe-translate --moe-to-ptx -o %t.sm_90a.ptx && %ptxas -arch=sm_90a %t.sm_90a.ptx -o %t.sm_90a.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100 | moe-translate --moe-to-ptx -o %t.sm_100.ptx && %ptxas -arch=sm_100 %t.sm_100.ptx -o %t.sm_100.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100a | moe-translate --moe-to-ptx -o %t.sm_100a.ptx && %ptxas -arch=sm_100a %t.sm_100a.ptx -o %t.sm_100a.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100f | moe-translate --moe-to-ptx -o %t.sm_100f.ptx && %ptxas -arch=sm_100f %t.sm_100f.ptx -o %t.sm_100f.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_103 | moe-translate --moe-to-ptx -o %t.sm_103.ptx && %ptxas -arch=sm_103 %t.sm_103.ptx -o %t.sm_103.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_103a | moe-translate --moe-to-ptx -o %t.sm_103a.ptx && %ptxas -arch=sm_103a %t.sm_103a.ptx -o %t.sm_103a.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_103f | moe-translate --moe-to-ptx -o %t.sm_103f.ptx && %ptxas -arch=sm_103f %t.sm_103f.ptx -o %t.sm_103f.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_110 | moe-translate --moe-to-ptx -o %t.sm_110.ptx && %ptxas -arch=sm_110 %t.sm_110.ptx -o %t.sm_110.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_110a | moe-translate --moe-to-ptx -o %t.sm_110a.ptx && %ptxas -arch=sm_110a %t.sm_110a.ptx -o %t.sm_110a.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_110f | moe-translate --moe-to-ptx -o %t.sm_110f.ptx && %ptxas -arch=sm_110f %t.sm_110f.ptx -o %t.sm_110f.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_120 | moe-translate --moe-to-ptx -o %t.sm_120.ptx && %ptxas -arch=sm_120 %t.sm_120.ptx -o %t.sm_120.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_120a | moe-translate --moe-to-ptx -o %t.sm_120a.ptx && %ptxas -arch=sm_120a %t.sm_120a.ptx -o %t.sm_120a.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_120f | moe-translate --moe-to-ptx -o %t.sm_120f.ptx && %ptxas -arch=sm_120f %t.sm_120f.ptx -o %t.sm_120f.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_121 | moe-translate --moe-to-ptx -o %t.sm_121.ptx && %ptxas -arch=sm_121 %t.sm_121.ptx -o %t.sm_121.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_121a | moe-translate --moe-to-ptx -o %t.sm_121a.ptx && %ptxas -arch=sm_121a %t.sm_121a.ptx -o %t.sm_121a.cubin
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_121f | moe-translate --moe-to-ptx -o %t.sm_121f.ptx && %ptxas -arch=sm_121f %t.sm_121f.ptx -o %t.sm_121f.cubin

func.func @dynamic_activation(%x: memref<?x?xbf16, strided<[?, 1], offset: ?>>, %map: memref<?xi32>,
                              %n: memref<1xi32>, %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<?x?xbf16>)
  return
}
func.func @static_fused(%x: memref<300x1856xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                        %data: memref<300x1856xf8E4M3FN>, %scale: memref<23040xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<300x1856xbf16>, memref<300xi32>, memref<i32>)
    outs(%data, %scale : memref<300x1856xf8E4M3FN>, memref<23040xf8E8M0FNU>)
  return
}
func.func @dynamic_quantize(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                            %data: memref<?x?xf8E4M3FN>, %scale: memref<?x?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?x?xf8E8M0FNU>)
    scale_layout<linear>
  return
}
