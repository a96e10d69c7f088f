// What ops of pairs of columns, of factors and of limits refuse.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt --split-input-file --verify-diagnostics %s

func.func @odd_width(%x: memref<8x127xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'x' to have an even number of columns under #moe.pairs<halves>, found 'memref<8x127xbf16>' (C14)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x127xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @width_of_one(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'out' to be a matrix [8, 32] of 'bf16', found 'memref<8x64xbf16>' (C5)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @blocks(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected the columns of 'out' to be a multiple of 24 under #moe.pairs<interleaved<24>>, found 64 (C14)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) gate_layout<interleaved<24>>
  return
}

// -----

func.func @blocks_of_a_dynamic_x(%x: memref<8x?xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected the columns of 'out' to be a multiple of 24 under #moe.pairs<interleaved<24>>, found 64 (C14)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x?xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) gate_layout<interleaved<24>>
  return
}

// -----

func.func @no_bf16(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'limit' to be a positive finite bf16 value, found 7.010000e+00 : f32 (C15)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) {limit = 7.01 : f32}
  return
}

// -----

func.func @no_positive(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'limit' to be a positive finite bf16 value, found 0.000000e+00 : f32 (C15)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) {limit = 0.0 : f32}
  return
}

// -----

func.func @no_finite(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'limit' to be a positive finite bf16 value, found 0x7F800000 : f32 (C15)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) {limit = 0x7F800000 : f32}
  return
}

// -----

func.func @after_what(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected a 'limit' for limit_at<after>, found none (C15)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) limit_at<after>
  return
}

// -----

func.func @alpha(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'alpha' to be finite, found 0x7FC00000 : f32 (C16)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) {alpha = 0x7FC00000 : f32}
  return
}

// -----

func.func @beta(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'beta' to be finite, found 0xFF800000 : f32 (C16)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) {beta = 0xFF800000 : f32}
  return
}

// -----

func.func @alpha_of_gelu(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'alpha' to be 1 with activation<gelu_tanh>, found 2.000000e+00 : f32 (C16)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) activation<gelu_tanh> {alpha = 2.0 : f32}
  return
}

// -----

func.func @probs(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>, %p: memref<8xbf16>) {
  // expected-error @+1 {{expected 'probs' to be a vector [8] of f32, found 'memref<8xbf16>' (C18)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) probs(%p : memref<8xbf16>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @length_of_probs(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>, %p: memref<9xf32>) {
  // expected-error @+1 {{expected 'probs' to be a vector [8] of f32, found 'memref<9xf32>' (C18)}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) probs(%p : memref<9xf32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @clamp(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'clamp_scale' to be positive and finite, found 0 (C17)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) {clamp_scale = 0.0 : f32}
  return
}

// -----

func.func @clamp(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'clamp_scale' to be positive and finite, found -1 (C17)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) {clamp_scale = -1.0 : f32}
  return
}

// -----

func.func @clamp(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'clamp_scale' to be positive and finite, found +Inf (C17)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) {clamp_scale = 0x7F800000 : f32}
  return
}

// -----

func.func @groups(%x: memref<8x96xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                  %data: memref<8x48xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error @+1 {{expected the columns of 'data' to be a multiple of 32, found 48 (C8)}}
  moe.swiglu_quantize_mxfp8 ins(%x, %map, %n : memref<8x96xbf16>, memref<8xi32>, memref<i32>)
    outs(%data, %scale : memref<8x48xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

// The scales are those of 64 columns, not of 128.
func.func @scales(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                  %data: memref<8x64xf8E4M3FN>, %scale: memref<8x4xf8E8M0FNU>) {
  // expected-error @+1 {{expected 'scale' to be a matrix [8, 2] of 'f8E8M0FNU', found 'memref<8x4xf8E8M0FNU>' (C9)}}
  moe.swiglu_quantize_mxfp8 ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>)
    outs(%data, %scale : memref<8x64xf8E4M3FN>, memref<8x4xf8E8M0FNU>) scale_layout<linear>
  return
}

// -----

func.func @one_argument(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %p: memref<8xf32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected the region to take two 'bf16' under pairs, found ('bf16') (C12)}}
  moe.map_rows ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) pairs<halves> format(#moe.bf16) {
  ^bb0(%a: bf16):
    moe.yield %a : bf16
  }
  return
}

// -----

func.func @an_argument_of_f32(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %p: memref<8xf32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected the region to take two 'bf16' under pairs, found ('bf16', 'f32') (C12)}}
  moe.map_rows ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) pairs<halves> format(#moe.bf16) {
  ^bb0(%a: bf16, %b: f32):
    moe.yield %a : bf16
  }
  return
}

// -----

func.func @no_factor(%x: memref<8x128xbf16>, %map: memref<8xi32>, %n: memref<i32>, %p: memref<8xf32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected the region to take two 'bf16' under pairs and, with probs, 'f32', found ('bf16', 'bf16') (C12)}}
  moe.map_rows ins(%x, %map, %n : memref<8x128xbf16>, memref<8xi32>, memref<i32>) probs(%p : memref<8xf32>)
    outs(%out : memref<8x64xbf16>) pairs<halves> format(#moe.bf16) {
  ^bb0(%a: bf16, %b: bf16):
    moe.yield %a : bf16
  }
  return
}

// -----

// expected-error @+1 {{expected halves or interleaved<columns of a block>, found quarters}}
func.func @f() attributes {test.a = #moe.pairs<quarters>} { return }

// -----

// expected-error @+1 {{expected blocks of 1 column at least, found 0}}
func.func @f() attributes {test.a = #moe.pairs<interleaved<0>>} { return }

// -----

// expected-error @+1 {{expected blocks of 1 to 2^30 - 1 columns, found -8}}
func.func @f() attributes {test.a = #moe.pairs<interleaved<-8>>} { return }

// -----

// expected-error @+1 {{expected gate_up, up_gate or interleaved<columns of a block>, found gate}}
func.func @f() attributes {test.a = #moe.gate_layout<gate>} { return }

// -----

// expected-error @+1 {{expected blocks of 1 column at least, found 0}}
func.func @f() attributes {test.a = #moe.gate_layout<interleaved<0>>} { return }

// -----

func.func @inputs(%x: memref<8x64xbf16>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected x, permutation_map and n_used, or x and n_used, with their types, found 1 operands and 1 types}}
  moe.padded_squared_relu ins(%x : memref<8x64xbf16>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @schedule(%x: memref<8x192xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x96xbf16>) {
  // expected-error @+1 {{'moe.schedule': expected 'access_bytes' of 8 elements that divide blocks of #moe.pairs<interleaved<12>>, or are a multiple of them, found 16 in #moe.schedule<>}}
  moe.padded_swiglu ins(%x, %map, %n : memref<8x192xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x96xbf16>) gate_layout<interleaved<12>> {moe.schedule = [#moe.schedule<>]}
  return
}

// -----

func.func @schedule_of_zeroed(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{'moe.schedule': dead_rows<zero> is for rows = single and 'early_bytes' of 0 in #moe.schedule<early_bytes = 1024>}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%out : memref<8x64xbf16>) dead_rows<zero> {moe.schedule = [#moe.schedule<early_bytes = 1024>]}
  return
}
