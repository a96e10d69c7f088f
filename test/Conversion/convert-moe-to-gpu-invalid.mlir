// What convert-moe-to-gpu does not take, and says so.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -verify-diagnostics -convert-moe-to-gpu -o /dev/null

func.func @tensors(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                   %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected memrefs for convert-moe-to-gpu, found tensors: run one-shot-bufferize before it}}
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// Each op on tensors is reported, also next to ops that are lowered.
func.func @mixed(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                 %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>,
                 %mx: memref<?x64xbf16>, %mmap: memref<?xi32>, %mn: memref<i32>,
                 %mout: memref<?x64xbf16>) -> tensor<?x64xf8E4M3FN> {
  moe.padded_squared_relu
    ins(%mx, %mmap, %mn : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%mout : memref<?x64xbf16>)
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected memrefs for convert-moe-to-gpu, found tensors: run one-shot-bufferize before it}}
  %q:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected memrefs for convert-moe-to-gpu, found tensors: run one-shot-bufferize before it}}
  %f:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %f#0 : tensor<?x64xf8E4M3FN>
}

// -----

// Shared memory.
func.func @memory_space_3(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32, 3>,
                          %out: memref<?x64xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'n_used' in memory space 0 or 1 for a GPU, found 'memref<i32, 3>'}}
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32, 3>)
    outs(%out : memref<?x64xbf16>)
  return
}

// -----

func.func @memory_space_attribute(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                                  %data: memref<?x64xf8E4M3FN>,
                                  %scale: memref<?xf8E8M0FNU, #gpu.address_space<workgroup>>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'scale' in memory space 0 or 1 for a GPU, found 'memref<?xf8E8M0FNU, #gpu.address_space<workgroup>>'}}
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU, #gpu.address_space<workgroup>>)
  return
}

// -----

module {
  module @inner {
    func.func @nested(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x64xbf16>) {
      // expected-error @below {{expected the module that is lowered directly around it, found one nested in it: lower that module}}
      moe.padded_squared_relu
        ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
        outs(%out : memref<?x64xbf16>)
      return
    }
  }
}

// -----

gpu.module @kernels {
  func.func @device(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %out: memref<?x64xbf16>) {
    // expected-error @below {{expected host code around it, found a gpu.module}}
    moe.padded_squared_relu
      ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
      outs(%out : memref<?x64xbf16>)
    return
  }
}

// -----

// A schedule that needs an alignment which is not known, and none to fall back to.
func.func @no_schedule_for_every_address(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  // expected-error@+1 {{expected a schedule that needs no alignment as the last in 'moe.schedule', or operands that are known to suit one}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>)
    {moe.schedule = [#moe.schedule<>, #moe.schedule<access_bytes = 4>]}
  return
}
