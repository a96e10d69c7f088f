// The kernels that the runtime library ships: each op with each combination of its
// attributes, on row-strided buffers of any size. The build compiles this file with the
// project's own pipelines, for GPUs and for the CPU.
//
// A function is called as its kernels are: the op, `_linear`, `_untouched`.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// With AVX-512 LLVM is to split vectors in registers of 256 bits, as it does for x86-64-v4
// where it makes the vectors itself: 512 gain nothing where a unit takes them in halves.
#narrow = [["min-legal-vector-width", "256"]]

!x = memref<?x?xbf16, strided<[?, 1], offset: ?>>
!map = memref<?xi32>
!n_used = memref<i32>
!data = memref<?x?xf8E4M3FN, strided<[?, 1], offset: ?>>
!swizzled = memref<?xf8E8M0FNU>
!linear = memref<?x?xf8E8M0FNU, strided<[?, 1], offset: ?>>

func.func @padded_squared_relu(%x: !x, %permutation_map: !map, %n_used: !n_used, %out: !x)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.padded_squared_relu ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%out : !x)
  return
}

func.func @squared_relu_quantize_mxfp8(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !swizzled)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.squared_relu_quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !swizzled)
  return
}

func.func @squared_relu_quantize_mxfp8_untouched(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !swizzled)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.squared_relu_quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !swizzled) dead_scales<untouched>
  return
}

func.func @squared_relu_quantize_mxfp8_linear(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !linear)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.squared_relu_quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !linear) scale_layout<linear>
  return
}

func.func @squared_relu_quantize_mxfp8_linear_untouched(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !linear)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.squared_relu_quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !linear) scale_layout<linear> dead_scales<untouched>
  return
}

func.func @quantize_mxfp8(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !swizzled)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !swizzled)
  return
}

func.func @quantize_mxfp8_untouched(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !swizzled)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !swizzled) dead_scales<untouched>
  return
}

func.func @quantize_mxfp8_linear(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !linear)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !linear) scale_layout<linear>
  return
}

func.func @quantize_mxfp8_linear_untouched(
    %x: !x, %permutation_map: !map, %n_used: !n_used, %data: !data, %scale: !linear)
    attributes {llvm.emit_c_interface, passthrough = #narrow} {
  moe.quantize_mxfp8 ins(%x, %permutation_map, %n_used : !x, !map, !n_used)
    outs(%data, %scale : !data, !linear) scale_layout<linear> dead_scales<untouched>
  return
}
