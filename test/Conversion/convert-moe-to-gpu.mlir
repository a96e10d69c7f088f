// The host side: the grid, the launches, and which kernels there are.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-gpu -canonicalize -cse | FileCheck %s
// RUN: moe-opt %s -split-input-file -moe-choose-schedule="num-ctas=7 threads-per-cta=64" -convert-moe-to-gpu -canonicalize -cse \
// RUN: | FileCheck %s --check-prefix=SMALL

// The grid of an op with dynamic sizes comes from these sizes and from nothing else: no
// load, so neither n_used nor permutation_map, before the launch.
// CHECK: module attributes {gpu.container_module}
// CHECK-LABEL: func.func @dynamic
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x?xbf16>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[N:[^ ]*]]: memref<i32>, %[[OUT:[^ ]*]]: memref<?x?xbf16>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[CM1:.*]] = arith.constant -1 : index
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : index
// CHECK-DAG: %[[C10:.*]] = arith.constant 10 : index
// CHECK-DAG: %[[C16:.*]] = arith.constant 16 : index
// CHECK-DAG: %[[C132:.*]] = arith.constant 132 : index
// CHECK-DAG: %[[C256:.*]] = arith.constant 256 : index
// CHECK-DAG: %[[C528:.*]] = arith.constant 528 : index
// CHECK-DAG: %[[C1023:.*]] = arith.constant 1023 : index
// CHECK-NOT: memref.load
// CHECK: %[[COLUMNS:.*]] = memref.dim %[[X]], %[[C1]]
// CHECK-NOT: memref.load
// CHECK: scf.if
// CHECK-NEXT: %[[ROWS:.*]] = memref.dim %[[X]], %[[C0]]
// CHECK-NEXT: %[[ROUNDED:.*]] = arith.addi %[[COLUMNS]], %[[C1023]]
// CHECK-NEXT: %[[CHUNKS:.*]] = arith.shrui %[[ROUNDED]], %[[C10]]
// CHECK-NEXT: %[[ONE_CHUNK:.*]] = arith.maxui %[[CHUNKS]], %[[C1]]
// CHECK-NEXT: %[[GRID_X:.*]] = arith.minui %[[ONE_CHUNK]], %[[C528]]
// CHECK-NEXT: %[[LEFT:.*]] = arith.divui %[[C528]], %[[GRID_X]]
// An odd number, and a special one where there are many.
// CHECK: %[[FEW:.*]] = arith.ori %{{.*}}, %[[C1]]
// CHECK: %[[MANY:.*]] = arith.subi %[[LEFT]], %{{.*}}
// CHECK-NEXT: %[[ARE_FEW:.*]] = arith.cmpi ult, %[[LEFT]], %[[C16]]
// CHECK-NEXT: %[[MAX_Y:.*]] = arith.select %[[ARE_FEW]], %[[FEW]], %[[MANY]]
// CHECK-NEXT: %[[ALL_WARPS:.*]] = arith.muli %[[MAX_Y]], %[[C8]]
// CHECK-NEXT: %[[ALL_BUT_ONE:.*]] = arith.addi %[[ALL_WARPS]], %[[CM1]]
// CHECK-NEXT: %[[WARPS:.*]] = arith.ori %[[ALL_BUT_ONE]], %[[C1]]
// CHECK-NEXT: %[[ONE_ROW:.*]] = arith.maxui %[[ROWS]], %[[C1]]
// CHECK-NEXT: %[[ROUNDS:.*]] = arith.ceildivui %[[ONE_ROW]], %[[WARPS]]
// CHECK-NEXT: %[[NEEDED:.*]] = arith.ceildivui %[[ONE_ROW]], %[[ROUNDS]]
// CHECK-NEXT: %[[ONE_MORE:.*]] = arith.addi %[[NEEDED]], %[[C1]]
// CHECK-NEXT: %[[BALANCED:.*]] = arith.ceildivui %[[ONE_MORE]], %[[C8]]
// CHECK-NEXT: %[[SMS:.*]] = arith.divui %[[C132]], %[[GRID_X]]
// CHECK-NEXT: %[[SPREAD:.*]] = arith.minui %[[ROWS]], %[[SMS]]
// CHECK-NEXT: %[[EITHER:.*]] = arith.maxui %[[BALANCED]], %[[SPREAD]]
// CHECK: %[[FEW_CTAS:.*]] = arith.cmpi ult, %[[EITHER]], %[[C16]]
// CHECK-NEXT: %[[SPREADING:.*]] = arith.select %[[FEW_CTAS]], %{{.*}}, %{{.*}}
// CHECK-NEXT: %[[GRID_Y:.*]] = arith.minui %[[SPREADING]], %[[MAX_Y]]
// CHECK-NEXT: gpu.launch_func @moe_kernels::@padded_squared_relu blocks in (%[[GRID_X]], %[[GRID_Y]], %[[C1]]) threads in (%[[C256]], %[[C1]], %[[C1]]) args(%[[X]] : memref<?x?xbf16>, %[[MAP]] : memref<?xi32>, %[[N]] : memref<i32>, %[[OUT]] : memref<?x?xbf16>)
// CHECK-NEXT: } else {
// CHECK-NOT: memref.load
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks in
// CHECK-NEXT: }
// CHECK-NEXT: return
// CHECK: gpu.module @moe_kernels
// CHECK: gpu.func @padded_squared_relu({{.*}}) kernel attributes {known_block_size = array<i32: 256, 1, 1>, moe.kernel = {{.*}}, nvvm.minctasm = 4 : i32}
// CHECK: gpu.func @padded_squared_relu_unaligned({{.*}}) kernel attributes {known_block_size = array<i32: 256, 1, 1>, moe.kernel = {{.*}}, nvvm.minctasm = 4 : i32}

// SMALL-LABEL: func.func @dynamic
// SMALL-DAG: %[[C1:.*]] = arith.constant 1 : index
// SMALL-DAG: %[[C2:.*]] = arith.constant 2 : index
// SMALL-DAG: %[[C7:.*]] = arith.constant 7 : index
// SMALL-DAG: %[[C64:.*]] = arith.constant 64 : index
// SMALL: %[[GRID_X:.*]] = arith.minui %{{.*}}, %[[C7]]
// SMALL-NEXT: %[[LEFT:.*]] = arith.divui %[[C7]], %[[GRID_X]]
// Two warps a CTA.
// SMALL: %[[BALANCED:.*]] = arith.ceildivui %{{.*}}, %[[C2]]
// SMALL: arith.maxui %[[BALANCED]], %{{.*}}
// SMALL: %[[GRID_Y:.*]] = arith.minui
// SMALL-NEXT: gpu.launch_func @moe_kernels::@padded_squared_relu blocks in (%[[GRID_X]], %[[GRID_Y]], %[[C1]]) threads in (%[[C64]], %[[C1]], %[[C1]])
// SMALL: known_block_size = array<i32: 64, 1, 1>, moe.kernel = {{.*}}, nvvm.minctasm = 16 : i32
func.func @dynamic(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                   %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// -----

// With static sizes the grid is constant: 3 chunks of 1024 columns. For 100 rows 13 CTAs
// have warps enough, but then 39 would be all; of a quarter of 528 there are 44 for each,
// and 47 is the next number under which live rows do not meet.
// CHECK-LABEL: func.func @static
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C3:.*]] = arith.constant 3 : index
// CHECK-DAG: %[[C47:.*]] = arith.constant 47 : index
// CHECK-DAG: %[[C256:.*]] = arith.constant 256 : index
// CHECK: scf.if
// CHECK-NEXT: gpu.launch_func @moe_kernels::@squared_relu_quantize_mxfp8 blocks in (%[[C3]], %[[C47]], %[[C1]]) threads in (%[[C256]], %[[C1]], %[[C1]])

// Of 7 CTAs 3 are for the columns, which leaves 2 for the rows, of which an even number is
// not taken.
// SMALL-LABEL: func.func @static
// SMALL-DAG: %[[C1:.*]] = arith.constant 1 : index
// SMALL-DAG: %[[C3:.*]] = arith.constant 3 : index
// SMALL: gpu.launch_func @moe_kernels::@squared_relu_quantize_mxfp8 blocks in (%[[C3]], %[[C1]], %[[C1]])
func.func @static(%x: memref<100x2080xbf16>, %map: memref<100xi32>, %n: memref<i32>,
                  %data: memref<100x2080xf8E4M3FN>, %scale: memref<8704xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<100x2080xbf16>, memref<100xi32>, memref<i32>)
    outs(%data, %scale : memref<100x2080xf8E4M3FN>, memref<8704xf8E8M0FNU>)
  return
}

// -----

// No rows: still a grid of one CTA, which is what a launch needs.
// CHECK-LABEL: func.func @no_rows
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks in (%[[C1]], %[[C1]], %[[C1]])
func.func @no_rows(%x: memref<0x64xbf16>, %map: memref<0xi32>, %n: memref<i32>,
                   %out: memref<0x64xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<0x64xbf16>, memref<0xi32>, memref<i32>)
    outs(%out : memref<0x64xbf16>)
  return
}

// -----

// Equal ops share their kernels, within a function and across functions; an op with
// another operand type or attribute has its own.
// CHECK-LABEL: func.func @shared
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8 blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8_unaligned blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8 blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8_unaligned blocks
// CHECK-LABEL: func.func @shared_across_functions
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8 blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8_unaligned blocks
// CHECK-LABEL: func.func @not_shared
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8_untouched blocks
// CHECK: gpu.launch_func @moe_kernels::@[[TYPE:quantize_mxfp8_[0-9]+]] blocks
// CHECK: gpu.module @moe_kernels
// CHECK: gpu.func @quantize_mxfp8(
// CHECK: gpu.func @quantize_mxfp8_unaligned(
// CHECK: gpu.func @quantize_mxfp8_untouched(%{{[^ ]*}}: memref<?x64xbf16>
// CHECK: gpu.func @quantize_mxfp8_untouched_unaligned(
// CHECK: gpu.func @[[TYPE]](%{{[^ ]*}}: memref<?x96xbf16>
// CHECK: gpu.func @quantize_mxfp8_unaligned_
// CHECK-NOT: gpu.func
func.func @shared(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                  %data: memref<?x64xf8E4M3FN>, %a: memref<?xf8E8M0FNU>, %b: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %a : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %b : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
func.func @shared_across_functions(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                                   %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
func.func @not_shared(%x: memref<?x64xbf16>, %y: memref<?x96xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %data: memref<?x64xf8E4M3FN>, %wide: memref<?x96xf8E4M3FN>,
                      %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>) dead_scales<untouched>
  moe.quantize_mxfp8
    ins(%y, %map, %n : memref<?x96xbf16>, memref<?xi32>, memref<i32>)
    outs(%wide, %scale : memref<?x96xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// -----

// The kernels' module gets out of the way of what is there.
// CHECK-LABEL: func.func @name_taken
// CHECK: gpu.launch_func @[[MODULE:moe_kernels_[0-9]+]]::@padded_squared_relu
// CHECK: gpu.module @[[MODULE]]
func.func private @moe_kernels()
func.func @name_taken(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x64xbf16>) {
  call @moe_kernels() : () -> ()
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}

// -----

// Global memory needs no cast in the kernel; generic memory is cast to it.
// CHECK-LABEL: func.func @memory_spaces
// CHECK: gpu.func @padded_squared_relu(%[[X:[^ ]*]]: memref<?x64xbf16, 1>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[N:[^ ]*]]: memref<i32, 1>, %[[OUT:[^ ]*]]: memref<?x64xbf16>)
// CHECK-NOT: memref.memory_space_cast %[[X]]
// CHECK-NOT: memref.memory_space_cast %[[N]]
// CHECK-DAG: memref.memory_space_cast %[[MAP]] : memref<?xi32> to memref<?xi32, 1>
// CHECK-DAG: memref.memory_space_cast %[[OUT]] : memref<?x64xbf16> to memref<?x64xbf16, 1>
// CHECK-DAG: memref.load %[[N]][] : memref<i32, 1>
// CHECK: vector.load %[[X]][
// CHECK: gpu.return
func.func @memory_spaces(%x: memref<?x64xbf16, 1>, %map: memref<?xi32>, %n: memref<i32, 1>,
                         %out: memref<?x64xbf16, 0>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16, 1>, memref<?xi32>, memref<i32, 1>)
    outs(%out : memref<?x64xbf16, 0>)
  return
}

// -----

// Nothing to do: no module of kernels appears.
// CHECK-LABEL: func.func @no_moe_ops
// CHECK-NOT: gpu.
func.func @no_moe_ops() {
  return
}
