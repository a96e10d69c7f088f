// Ops that gather rows of x: bufferization, checks at run time, schedules, and fusion.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" | FileCheck %s --check-prefix=BUFFERS
// RUN: moe-opt %s -generate-runtime-verification | FileCheck %s --check-prefix=SIZES
// RUN: moe-opt %s -moe-choose-schedule=chip=sm_90 | FileCheck %s --check-prefix=SCHEDULE
// RUN: moe-opt %s -moe-fuse-quantize | FileCheck %s --check-prefix=FUSE
// RUN: moe-opt %s -moe-fuse-elementwise | FileCheck %s --check-prefix=LINALG

// In place on the destination.
// BUFFERS-LABEL: func @permute
// BUFFERS-NOT: alloc
// BUFFERS: moe.permute_tokens ins(%arg0, %arg1, %arg2 : memref<?x?xbf16>, memref<?xi32>, memref<i32>) outs(%arg3 : memref<?x?xbf16>){{$}}
// BUFFERS: return

// No size of x but its columns has to fit.
// SIZES-LABEL: func @permute
// SIZES: %[[ROWS:.*]] = tensor.dim %arg3, %c0
// SIZES: %[[COLUMNS:.*]] = tensor.dim %arg0, %c1
// SIZES: %[[ENTRIES:.*]] = tensor.dim %arg1, %{{.*}}
// SIZES: %[[EQUAL:.*]] = arith.cmpi eq, %[[ENTRIES]], %[[ROWS]]
// SIZES: cf.assert %[[EQUAL]], "{{.*}}expected 'permutation_map' to have as many elements as 'out' has rows (C3)
// SIZES-NOT: as many rows as 'x'
// SIZES: cf.assert %{{.*}}, "{{.*}}expected the destination to have as many columns as 'x' (C5)

// No row is loaded before its entry is known.
// SCHEDULE-LABEL: func @permute
// SCHEDULE: moe.schedule = [#moe.schedule<waits = true, keeps_x = true>, #moe.schedule<access_bytes = 2, steps = 2, waits = true, keeps_x = true>]
func.func @permute(%x: tensor<?x?xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                   %out: tensor<?x?xbf16>) -> tensor<?x?xbf16> {
  %r = moe.permute_tokens ins(%x, %map, %n : tensor<?x?xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<?x?xbf16>) -> tensor<?x?xbf16>
  return %r : tensor<?x?xbf16>
}

// Of scales there are as many as of the destination's rows.
// SIZES-LABEL: func @permute_quantize
// SIZES: %[[ROWS:.*]] = tensor.dim %arg3, %c0
// SIZES: expected 'permutation_map' to have as many elements as 'data' has rows (C3)
// SIZES: %[[SCALES:.*]] = tensor.dim %arg4, %{{.*}}
// SIZES: %[[EQUAL:.*]] = arith.cmpi eq, %[[SCALES]], %[[ROWS]]
// SIZES: cf.assert %[[EQUAL]], "{{.*}}expected 'scale' to have as many rows as 'data' (C9)

// SCHEDULE-LABEL: func @permute_quantize
// SCHEDULE: moe.schedule = [#moe.schedule<waits = true, keeps_x = true>, #moe.schedule<access_bytes = 2, steps = 2, waits = true, keeps_x = true>]
func.func @permute_quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                            %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %0:2 = moe.permute_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) scale_layout<linear>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %0#0, %0#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}

// A token that is used in two places is read in two places: x and out never share a buffer.
// BUFFERS-LABEL: func @of_itself
// BUFFERS: %[[COPY:.*]] = memref.alloc() {{.*}}: memref<64x64xbf16>
// BUFFERS: memref.copy %arg0, %[[COPY]]
// BUFFERS: moe.permute_tokens ins(%arg0, {{.*}}) outs(%[[COPY]] :
func.func @of_itself(%x: tensor<64x64xbf16>, %map: tensor<64xi32>, %n: tensor<i32>)
    -> tensor<64x64xbf16> {
  %r = moe.permute_tokens ins(%x, %map, %n : tensor<64x64xbf16>, tensor<64xi32>, tensor<i32>)
    outs(%x : tensor<64x64xbf16>) -> tensor<64x64xbf16>
  return %r : tensor<64x64xbf16>
}

// FUSE-LABEL: func @fused
// FUSE-SAME: %[[X:[^ ]*]]: tensor<7x64xbf16>, %[[MAP:[^ ]*]]: tensor<?xi32>, %[[N:[^ ]*]]: tensor<i32>, %[[DATA:[^ ]*]]: tensor<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: tensor<?x2xf8E8M0FNU>
// FUSE-NOT: moe.permute_tokens
// FUSE: moe.permute_quantize_mxfp8 ins(%[[X]], %[[MAP]], %[[N]] : {{.*}}) outs(%[[DATA]], %[[SCALE]] : {{.*}}) dead_rows<zero> scale_layout<linear> dead_scales<untouched> ->
// FUSE-NOT: moe.quantize_mxfp8
// FUSE: return
func.func @fused(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                 %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>, %rows: index)
    -> tensor<?x64xf8E4M3FN> {
  %empty = tensor.empty(%rows) : tensor<?x64xbf16>
  %a = moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%empty : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    dead_rows<zero> scale_layout<linear> dead_scales<untouched>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// An activation of gathered rows stays one.
// FUSE-LABEL: func @fused_region
// FUSE: moe.map_rows {{.*}} gathers outs({{.*}}) format(#moe.mxfp8<scale_layout = linear>) {
// FUSE-NEXT: ^bb0(%[[V:.*]]: bf16):
// FUSE-NEXT: math.absf %[[V]]
// FUSE-NOT: moe.quantize_mxfp8
// FUSE: return
func.func @fused_region(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                        %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>,
                        %rows: index) -> tensor<?x64xf8E4M3FN> {
  %empty = tensor.empty(%rows) : tensor<?x64xbf16>
  %a = moe.map_rows ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>) gathers
    outs(%empty : tensor<?x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    %w = math.absf %v : bf16
    moe.yield %w : bf16
  } -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) scale_layout<linear>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// A row with an entry past those of x is live in the quantisation alone, which then quantises
// what the destination held.
// FUSE-LABEL: func @defined_rows
// FUSE: moe.permute_tokens
// FUSE: moe.quantize_mxfp8
func.func @defined_rows(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                        %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                        %scale: tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// FUSE-LABEL: func @zeroed_rows
// FUSE: moe.permute_tokens
// FUSE: moe.quantize_mxfp8
func.func @zeroed_rows(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                       %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>,
                       %rows: index) -> tensor<?x64xf8E4M3FN> {
  %empty = tensor.empty(%rows) : tensor<?x64xbf16>
  %a = moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%empty : tensor<?x64xbf16>) dead_rows<zero> -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// FUSE-LABEL: func @another_map
// FUSE: moe.permute_tokens
// FUSE: moe.quantize_mxfp8
func.func @another_map(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %other: tensor<?xi32>,
                       %n: tensor<i32>, %data: tensor<?x64xf8E4M3FN>,
                       %scale: tensor<?xf8E8M0FNU>, %rows: index) -> tensor<?x64xf8E4M3FN> {
  %empty = tensor.empty(%rows) : tensor<?x64xbf16>
  %a = moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%empty : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %other, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// What comes before a gather is of other rows.
// FUSE-LABEL: func @before_the_gather
// FUSE: moe.padded_squared_relu
// FUSE: moe.permute_quantize_mxfp8
func.func @before_the_gather(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                             %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>,
                             %rows: index) -> tensor<?x64xf8E4M3FN> {
  %empty = tensor.empty(%rows) : tensor<?x64xbf16>
  %a = moe.padded_squared_relu ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%empty : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.permute_quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// What is computed of each element alone may as well be computed of those that are gathered.
// LINALG-LABEL: func @elementwise
// LINALG-NOT: linalg
// LINALG: moe.map_rows ins(%arg0, {{.*}}) gathers outs({{.*}}) format(#moe.bf16) {
// LINALG: arith.negf
// LINALG: return
#map = affine_map<(d0, d1) -> (d0, d1)>
func.func @elementwise(%x: tensor<7x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                       %out: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %empty = tensor.empty() : tensor<7x64xbf16>
  %a = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel", "parallel"]}
    ins(%x : tensor<7x64xbf16>) outs(%empty : tensor<7x64xbf16>) {
  ^bb0(%v: bf16, %ignored: bf16):
    %w = arith.negf %v : bf16
    linalg.yield %w : bf16
  } -> tensor<7x64xbf16>
  %r = moe.permute_tokens ins(%a, %map, %n : tensor<7x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}
