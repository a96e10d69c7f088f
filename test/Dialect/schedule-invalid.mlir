// Schedules that no kernel can follow, and ops that a schedule does not suit.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -verify-diagnostics

// expected-error@+1 {{unknown field 'thread' of a schedule, expected one of threads, access_bytes, steps, early_bytes, early_steps, clear_bytes, min_ctas, num_ctas, alignment, cluster, rows, waits, keeps_x}}
func.func @f() attributes {test.a = #moe.schedule<thread = 256>} { return }

// -----

// expected-error@+1 {{expected 'steps' once}}
func.func @f() attributes {test.a = #moe.schedule<steps = 2, steps = 4>} { return }

// -----

// expected-error@+1 {{expected 'rows' to be single or quads, found pairs}}
func.func @f() attributes {test.a = #moe.schedule<rows = pairs>} { return }

// -----

// expected-error@+1 {{expected 'waits' to be true or false, found maybe}}
func.func @f() attributes {test.a = #moe.schedule<waits = maybe>} { return }

// -----

// expected-error@+1 {{expected 'keeps_x' to be true or false, found x}}
func.func @f() attributes {test.a = #moe.schedule<keeps_x = x>} { return }

// -----

// expected-error@+1 {{expected 'threads' to be a power of two from 32 to 1024, found 48}}
func.func @f() attributes {test.a = #moe.schedule<threads = 48>} { return }

// -----

// expected-error@+1 {{expected 'threads' to be a power of two from 32 to 1024, found 2048}}
func.func @f() attributes {test.a = #moe.schedule<threads = 2048>} { return }

// -----

// expected-error@+1 {{expected 'access_bytes' to be a power of two from 2 to 32, found 64}}
func.func @f() attributes {test.a = #moe.schedule<access_bytes = 64>} { return }

// -----

// expected-error@+1 {{expected 'steps' to be a power of two from 1 to 32, found 3}}
func.func @f() attributes {test.a = #moe.schedule<steps = 3>} { return }

// -----

// expected-error@+1 {{expected 'early_bytes' to be from 0 to 1099511627776, found -1}}
func.func @f() attributes {test.a = #moe.schedule<early_bytes = -1>} { return }

// -----

// expected-error@+1 {{expected 'num_ctas' to be from 1 to 65535, found 65536}}
func.func @f() attributes {test.a = #moe.schedule<num_ctas = 65536>} { return }

// -----

// expected-error@+1 {{expected 'cluster' to be a power of two from 1 to 8, found 6}}
func.func @f() attributes {test.a = #moe.schedule<cluster = 6>} { return }

// -----

// expected-error@+1 {{expected 'num_ctas' to be at least 'cluster', 4, found 3}}
func.func @f() attributes {test.a = #moe.schedule<cluster = 4, num_ctas = 3>} { return }

// -----

// What every chip that has clusters has room for.
// expected-error@+1 {{expected 'cluster' to be a power of two from 1 to 8, found 16}}
func.func @f() attributes {test.a = #moe.schedule<cluster = 16>} { return }

// -----

func.func @f(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  // expected-error@+1 {{'moe.schedule': expected 'cluster' to be 1 for moe.padded_squared_relu, found 2 in #moe.schedule<cluster = 2>}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>)
    {moe.schedule = [#moe.schedule<cluster = 2>]}
  return
}

// -----

func.func @f(%y: memref<?x64xbf16>, %map: memref<?x4xi32>, %n: memref<i32>, %out: memref<?x64xf32>) {
  // expected-error@+1 {{'moe.schedule': expected 'cluster' to be 1 for moe.unpermute_tokens, found 8}}
  moe.unpermute_tokens ins(%y, %map, %n : memref<?x64xbf16>, memref<?x4xi32>, memref<i32>) outs(%out : memref<?x64xf32>)
    {moe.schedule = [#moe.schedule<cluster = 8>]}
  return
}

// -----

func.func @f(%routing: memref<?x6xi32>, %n: memref<i32>, %i: i32, %e: memref<16xi32>, %f: memref<16xi32>, %g: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<?x16xi32>) {
  // expected-error@+1 {{'moe.schedule': expected 'threads' to be 1024 with 'cluster' of 4, found 512 in #moe.schedule<threads = 512, cluster = 4>}}
  moe.route_tokens ins(%routing, %n : memref<?x6xi32>, memref<i32>) first_expert(%i) alignment(%i)
    outs(%e, %f, %g, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<?x16xi32>)
    {moe.schedule = [#moe.schedule<threads = 512, cluster = 4>]}
  return
}

// -----

// expected-error@+1 {{expected 'min_ctas' to be from 1 to 32, found 0}}
func.func @f() attributes {test.a = #moe.schedule<min_ctas = 0>} { return }

// -----

// expected-error@+1 {{expected 'min_ctas' times 'threads' to be at most 2048, found 4 times 1024}}
func.func @f() attributes {test.a = #moe.schedule<threads = 1024>} { return }

// -----

// expected-error@+1 {{expected 'alignment' to be at most 'access_bytes', 8, found 16}}
func.func @f() attributes {test.a = #moe.schedule<access_bytes = 8, alignment = 16>} { return }

// -----

// expected-error@+1 {{expected 'clear_bytes' to be 16 with rows = quads, found 1}}
func.func @f() attributes {test.a = #moe.schedule<rows = quads>} { return }

// -----

// expected-error@+1 {{expected 'clear_bytes' to be 1 with rows = single, found 16}}
func.func @f() attributes {test.a = #moe.schedule<clear_bytes = 16>} { return }

// -----

// expected-error@+1 {{expected 'early_bytes' to be 0 with rows = quads, found 1024}}
func.func @f() attributes {test.a = #moe.schedule<rows = quads, clear_bytes = 16, early_bytes = 1024>} { return }

// -----

// expected-error@+1 {{expected 'early_steps' to be from 0 to 32, found 64}}
func.func @f() attributes {test.a = #moe.schedule<early_bytes = 1024, early_steps = 64>} { return }

// -----

// expected-error@+1 {{expected 'early_steps' to be 0, or a power of two that is at most 'steps', 4, found 3}}
func.func @f() attributes {test.a = #moe.schedule<early_bytes = 1024, early_steps = 3>} { return }

// -----

// expected-error@+1 {{expected 'early_steps' to be 0, or a power of two that is at most 'steps', 2, found 4}}
func.func @f() attributes {test.a = #moe.schedule<steps = 2, early_bytes = 1024, early_steps = 4>} { return }

// -----

// expected-error@+1 {{expected 'early_steps' to be 0 with 'early_bytes' of 0, found 1}}
func.func @f() attributes {test.a = #moe.schedule<early_steps = 1>} { return }

// -----

// expected-error@+1 {{expected 'moe.schedule' on a padding-aware op, found it on 'func.func'}}
func.func @f() attributes {moe.schedule = [#moe.schedule<>]} { return }

// -----

func.func @not_an_array(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  // expected-error@+1 {{expected 'moe.schedule' to be an array of #moe.schedule, found #moe.schedule<>}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>) {moe.schedule = #moe.schedule<>}
  return
}

// -----

func.func @none(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  // expected-error@+1 {{expected 'moe.schedule' to be an array of #moe.schedule, found []}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>) {moe.schedule = []}
  return
}

// -----

func.func @after_the_last(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  // expected-error@+1 {{'moe.schedule': expected no schedule after #moe.schedule<access_bytes = 2>, which suits all operands}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>) {moe.schedule = [#moe.schedule<access_bytes = 2>, #moe.schedule<>]}
  return
}

// -----

func.func @quads_without_scales(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  // expected-error@+1 {{'moe.schedule': rows = quads is for swizzled scales, found an op without in #moe.schedule<clear_bytes = 16, rows = quads>}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>) {moe.schedule = [#moe.schedule<rows = quads, clear_bytes = 16>]}
  return
}

// -----

func.func @quads_of_linear_scales(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.schedule': rows = quads is for swizzled scales, found an op without in #moe.schedule<clear_bytes = 16, rows = quads>}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>) scale_layout<linear> {moe.schedule = [#moe.schedule<rows = quads, clear_bytes = 16>]}
  return
}

// -----

func.func @early_quantisation(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.schedule': expected 'early_bytes' to be 0 for an op that quantises, found 1024 in #moe.schedule<early_bytes = 1024>}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>) {moe.schedule = [#moe.schedule<early_bytes = 1024>]}
  return
}

// -----

func.func @more_steps_than_lanes(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.schedule': expected from 2 to 4 'steps' of 16 bytes for a group of 32 elements, found 8 in #moe.schedule<steps = 8>}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>) {moe.schedule = [#moe.schedule<steps = 8>]}
  return
}

// -----

func.func @fewer_steps_than_quads_take(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.schedule': expected from 4 to 4 'steps' of 16 bytes for a group of 32 elements with rows = quads, found 2 in}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>) {moe.schedule = [#moe.schedule<rows = quads, steps = 2, clear_bytes = 16>]}
  return
}

// -----

func.func @narrow_quads(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.schedule': expected 'access_bytes' to be 8 at least with rows = quads, found 4 in}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>) {moe.schedule = [#moe.schedule<rows = quads, access_bytes = 4, steps = 16, clear_bytes = 16>]}
  return
}
