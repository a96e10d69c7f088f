// An op on tensors that cannot be bufferized is an error where it stands, on every path.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -allow-unregistered-dialect -verify-diagnostics -moe-bufferize -o /dev/null
// RUN: moe-opt %s -allow-unregistered-dialect -verify-diagnostics -moe-lower-to-ptx -o /dev/null
// RUN: moe-opt %s -allow-unregistered-dialect -verify-diagnostics -moe-lower-to-cpu -o /dev/null

func.func @unknown_producer(%map: tensor<8xi32>, %n: tensor<i32>, %init: tensor<8x64xbf16>)
    -> tensor<8x64xbf16> {
  // expected-error@+1 {{op was not bufferized}}
  %x = "unknown.op"() : () -> tensor<8x64xbf16>
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  return %r : tensor<8x64xbf16>
}
