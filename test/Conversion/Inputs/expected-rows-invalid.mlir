// What moe.expected_rows may not be.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

func.func @none(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'moe.expected_rows' to be a positive i64, found 0 : i64}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) {moe.expected_rows = 0 : i64}
  return
}

// -----

func.func @type(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'moe.expected_rows' to be a positive i64, found 8 : i32}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) {moe.expected_rows = 8 : i32}
  return
}

// -----

// expected-error @+1 {{expected 'moe.expected_rows' on a padding-aware op, found it on 'func.func'}}
func.func @op() attributes {moe.expected_rows = 8 : i64} {
  return
}
