// What the generic op refuses besides what all ops do (invalid.mlir).
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt --split-input-file --verify-diagnostics %s

func.func @destinations(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                        %data: memref<8x64xf8E4M3FN>) {
  // expected-error @+1 {{'moe.map_rows' op expected the operands x, permutation_map, n_used, data, scale, found 4 operands}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%data : memref<8x64xf8E4M3FN>) format(#moe.mxfp8) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @width(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                 %out: memref<8x32xbf16>) {
  // expected-error @+1 {{expected 'out' to be a matrix [8, 64] of 'bf16', found 'memref<8x32xbf16>' (C5)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x32xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @scale(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                 %data: memref<8x64xf8E4M3FN>, %scale: memref<8x4xf8E8M0FNU>) {
  // expected-error @+1 {{expected 'scale' to be a matrix [8, 2] of 'f8E8M0FNU', found 'memref<8x4xf8E8M0FNU>' (C9)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%data, %scale : memref<8x64xf8E4M3FN>, memref<8x4xf8E8M0FNU>)
    format(#moe.mxfp8<scale_layout = linear>) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @argument(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                    %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected the region to take one 'bf16', found ('f32') (C12)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: f32):
    %a = arith.truncf %v : f32 to bf16
    moe.yield %a : bf16
  }
  return
}

// -----

func.func @result(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                  %out: memref<8x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    %a = arith.extf %v : bf16 to f32
    // expected-error @+1 {{'moe.yield' op expected a 'bf16', found 'f32' (C12)}}
    moe.yield %a : f32
  }
  return
}

// -----

func.func @not_elementwise(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                           %out: memref<8x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    // expected-error @+1 {{'vector.broadcast' op expected the region to consist of arith.constant and of elementwise arith and math ops on integers and floats, found vector.broadcast (C13)}}
    %0 = vector.broadcast %v : bf16 to vector<2xbf16>
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @vectors(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                   %out: memref<8x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    // expected-error @+1 {{found arith.constant (C13)}}
    %0 = arith.constant dense<1.0> : vector<2xbf16>
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @from_above(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                      %out: memref<8x64xbf16>, %bias: bf16) {
  // expected-note @+1 {{required by region isolation constraints}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    // expected-error @+1 {{using value defined outside the region}}
    %a = arith.addf %v, %bias : bf16
    moe.yield %a : bf16
  }
  return
}

// -----

func.func @results(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>,
                   %out: tensor<8x64xbf16>) {
  // expected-error @+1 {{expected the types of 'outs' as results, 'tensor<8x64xbf16>', found none (C7)}}
  moe.map_rows ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%out : tensor<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @kernel_name0(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                        %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'kernel_name' to be letters, digits and '_', of which the first is no digit, found '' (C31)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) kernel_name("") {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @kernel_name1(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                        %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'kernel_name' to be letters, digits and '_', of which the first is no digit, found 'a b' (C31)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) kernel_name("a b") {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @kernel_name2(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                        %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'kernel_name' to be letters, digits and '_', of which the first is no digit, found '1st' (C31)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) kernel_name("1st") {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @kernel_name3(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                        %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'kernel_name' to be letters, digits and '_', of which the first is no digit, found 'my.kernel' (C31)}}
  moe.map_rows ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) kernel_name("my.kernel") {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}
