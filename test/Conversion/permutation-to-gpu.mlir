// The host side of the ops between tokens and rows: their kernels, what is said of them, and grids.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -moe-choose-schedule=chip=sm_90 -convert-moe-to-gpu -canonicalize | FileCheck %s
// RUN: moe-opt %s -split-input-file -moe-choose-schedule="chip=sm_90 num-ctas=20" -convert-moe-to-gpu -canonicalize | FileCheck %s --check-prefix=FEW
// RUN: moe-opt %s -split-input-file -moe-choose-schedule="chip=sm_90 num-ctas=7" -convert-moe-to-warp | FileCheck %s --check-prefix=NONE
// RUN: moe-opt %s -split-input-file -moe-choose-schedule=chip=sm_89 -convert-moe-to-warp | FileCheck %s --check-prefix=OLD

// From 6145 pairs on a cluster of CTAs for each 32 experts, else a CTA for each; at most those of the
// schedule.
// CHECK-LABEL: func @route
// CHECK-SAME: %[[ROUTING:[^ ]*]]: memref<?x?xi64>, %[[VALID:[^ ]*]]: memref<1xi32>, %[[PROBS:[^ ]*]]: memref<?x?xf32>, %[[FIRST:[^ ]*]]: i32, %[[ALIGN:[^ ]*]]: i32, %[[COUNTS:[^ ]*]]: memref<?xi32>
// CHECK-DAG: %[[TOKENS:.*]] = memref.dim %[[ROUTING]], %c0
// CHECK-DAG: %[[CHOICES:.*]] = memref.dim %[[ROUTING]], %c1
// CHECK: %[[PAIRS:.*]] = arith.muli %[[TOKENS]], %[[CHOICES]]
// CHECK: %[[MANY:.*]] = arith.cmpi ugt, %[[PAIRS]], %c6144
// CHECK: scf.if %[[MANY]] {
// CHECK: %[[EXPERTS:.*]] = memref.dim %[[COUNTS]], %c0
// CHECK: %[[UP:.*]] = arith.addi %[[EXPERTS]], %c31
// CHECK: %[[WINDOWS:.*]] = arith.shrui %[[UP]], %c5
// CHECK: %[[SOME:.*]] = arith.maxui %[[WINDOWS]], %c1
// CHECK: %[[CLUSTERS:.*]] = arith.minui %[[SOME]], %c66
// CHECK: %[[CTAS:.*]] = arith.muli %[[CLUSTERS]], %c8
// CHECK: gpu.launch_func @moe_kernels::@route_tokens_i64_probs_cluster8 blocks in (%[[CTAS]], %c1, %c1) threads in (%c1024, %c1, %c1) args(%[[ROUTING]] : memref<?x?xi64>
// FEW: arith.minui %{{.*}}, %c2
// FEW: gpu.launch_func @moe_kernels::@route_tokens_i64_probs_cluster8
// CHECK: } else {
// CHECK: %[[EXPERTS:.*]] = memref.dim %[[COUNTS]], %c0
// CHECK: %[[SOME:.*]] = arith.maxui %[[EXPERTS]], %c1
// CHECK: %[[CTAS:.*]] = arith.minui %[[SOME]], %c528
// CHECK: gpu.launch_func @moe_kernels::@route_tokens_i64_probs blocks in (%[[CTAS]], %c1, %c1) threads in (%c512, %c1, %c1) args(%[[ROUTING]] : memref<?x?xi64>, %[[VALID]] : memref<1xi32>, %[[PROBS]] : memref<?x?xf32>, %[[FIRST]] : i32, %[[ALIGN]] : i32, %[[COUNTS]] : memref<?xi32>
// CHECK: gpu.func @route_tokens_i64_probs_cluster8(
// CHECK-SAME: workgroup({{.*}} : memref<2048xi32, 3>, {{.*}} : memref<2048xi32, 3>, {{.*}} : memref<1056xi32, 3>, {{.*}} : memref<12288xi16, 3>, {{.*}} : memref<1xi32, 3>) kernel attributes {
// CHECK-SAME: known_block_size = array<i32: 1024, 1, 1>, known_cluster_size = array<i32: 8, 1, 1>
// CHECK-SAME: moe.kernel = {base_name_bytes = 22 : i64, chunk_columns = 1 : i64, cluster_ctas = 8 : i64, least_units = 6145 : i64
// CHECK-SAME: waits_for_predecessor = true, work = "expert_windows"
// CHECK: nvvm.griddepcontrol wait
// CHECK-COUNT-24: llvm.load {{.*}} : !llvm.ptr<1> -> i64
// CHECK: gpu.barrier
// CHECK: nvvm.cluster.arrive {aligned}
// CHECK: nvvm.cluster.wait {aligned}
// CHECK-COUNT-8: nvvm.mapa
// CHECK: nvvm.match.sync any
// CHECK: llvm.atomicrmw max %{{.*}}, %{{.*}} syncscope("block") monotonic : !llvm.ptr<1>, i32
// CHECK: nvvm.cluster.wait {aligned}
// CHECK: llvm.mlir.global external constant @moe_kernel_route_tokens_i64_probs_cluster8("MOEK
// CHECK: gpu.func @route_tokens_i64_probs(
// CHECK-SAME: workgroup({{.*}} : memref<2048xi32, 3>, {{.*}} : memref<16xi32, 3>, {{.*}} : memref<6144xi32, 3>) kernel attributes {
// CHECK-SAME: known_block_size = array<i32: 512, 1, 1>
// CHECK-SAME: {access = "read", element_bits = 64 : i64, kind = "matrix", name = "routing_map"}
// CHECK-SAME: {access = "read", element_bits = 32 : i64, kind = "scalar", name = "valid_tokens", rank = 1 : i64}
// CHECK-SAME: {access = "read", element_bits = 32 : i64, kind = "value", name = "first_expert"}
// CHECK-SAME: {access = "read", element_bits = 32 : i64, kind = "value", name = "alignment"}
// CHECK-SAME: {access = "write", element_bits = 32 : i64, kind = "vector", name = "tokens_per_expert"}
// CHECK-SAME: {access = "write", element_bits = 32 : i64, kind = "vector", name = "permuted_probs"}
// CHECK-SAME: threads_per_cta = 512 : i64
// CHECK-SAME: waits_for_predecessor = true, work = "experts"
// Shared memory is cleared before the kernel in front is done, and nothing is read.
// CHECK: memref.store
// CHECK-NOT: memref.load
// CHECK: nvvm.griddepcontrol wait
// CHECK-NEXT: nvvm.griddepcontrol launch_dependents
// All loads go out before the barrier.
// CHECK-COUNT-25: memref.load {{.*}}, 1>
// CHECK: gpu.barrier
// CHECK: llvm.atomicrmw add %{{.*}}, %{{.*}} syncscope("block") monotonic : !llvm.ptr<3>, i32
// CHECK: llvm.mlir.global external constant @moe_kernel_route_tokens_i64_probs("MOEK
// NONE-NOT: cluster8
// OLD: work = "experts"
// OLD-NOT: cluster8
// OLD-NOT: griddepcontrol
func.func @route(%routing: memref<?x?xi64>, %valid: memref<1xi32>, %probs: memref<?x?xf32>,
                 %first: i32, %align: i32, %counts: memref<?xi32>, %exclusive: memref<?xi32>,
                 %inclusive: memref<?xi32>, %map: memref<?xi32>, %inverse: memref<?x?xi32>,
                 %row_probs: memref<?xf32>) {
  moe.route_tokens ins(%routing, %valid : memref<?x?xi64>, memref<1xi32>)
    probs(%probs : memref<?x?xf32>) first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?x?xi32>)
    permuted_probs(%row_probs : memref<?xf32>)
  return
}

// -----

// How many pairs there are is known, and how they are to be launched is said.
// CHECK-LABEL: func @known
// CHECK-NOT: scf.if
// CHECK: gpu.launch_func @moe_kernels::@route_tokens_cluster8 blocks in (%c16, %c1, %c1) threads in (%c1024, %c1, %c1)
// CHECK: gpu.launch_func @moe_kernels::@route_tokens blocks in (%c64, %c1, %c1) threads in (%c512, %c1, %c1)
// CHECK: gpu.launch_func @moe_kernels::@route_tokens_cluster2 blocks in (%c4, %c1, %c1) threads in (%c1024, %c1, %c1)
// CHECK: known_cluster_size = array<i32: 2, 1, 1>
func.func @known(%many: memref<4096x22xi32>, %few: memref<279x22xi32>, %valid: memref<i32>, %first: i32,
                 %counts: memref<64xi32>, %exclusive: memref<64xi32>, %inclusive: memref<64xi32>,
                 %map: memref<?xi32>, %inverse: memref<4096x64xi32>, %inverse_few: memref<279x64xi32>) {
  moe.route_tokens ins(%many, %valid : memref<4096x22xi32>, memref<i32>) first_expert(%first) alignment(%first)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<64xi32>, memref<64xi32>, memref<64xi32>, memref<?xi32>, memref<4096x64xi32>)
  moe.route_tokens ins(%few, %valid : memref<279x22xi32>, memref<i32>) first_expert(%first) alignment(%first)
    outs(%counts, %exclusive, %inclusive, %map, %inverse_few
         : memref<64xi32>, memref<64xi32>, memref<64xi32>, memref<?xi32>, memref<279x64xi32>)
  moe.route_tokens ins(%few, %valid : memref<279x22xi32>, memref<i32>) first_expert(%first) alignment(%first)
    outs(%counts, %exclusive, %inclusive, %map, %inverse_few
         : memref<64xi32>, memref<64xi32>, memref<64xi32>, memref<?xi32>, memref<279x64xi32>)
    {moe.schedule = [#moe.schedule<threads = 1024, min_ctas = 1, cluster = 2>]}
  return
}

// -----

// A kernel for accesses of 16 bytes, if y and out are where they need and there are many tokens,
// one for 8 bytes, and one for any. They are beside those of padding-aware ops, and ops with the same operands share them.
// CHECK-LABEL: func @unpermute
// CHECK-SAME: %[[OUT:[^ ]*]]: memref<?x?xf32>
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu
// CHECK: %[[ALIGNED:.*]] = arith.cmpi eq, %{{.*}}, %c0
// CHECK-DAG: %[[TOKENS:.*]] = memref.dim %[[OUT]], %c0
// CHECK-DAG: %[[COLUMNS:.*]] = memref.dim %[[OUT]], %c1
// CHECK: %[[ELEMENTS:.*]] = arith.muli %[[TOKENS]], %[[COLUMNS]]
// CHECK: %[[MANY:.*]] = arith.cmpi ugt, %[[ELEMENTS]], %c524287
// CHECK: %[[IS_WIDE:.*]] = arith.andi %[[ALIGNED]], %[[MANY]]
// CHECK: scf.if %[[IS_WIDE]]
// CHECK: gpu.launch_func @moe_kernels::@unpermute_tokens_aligned16 blocks in (%{{.*}}, %{{.*}}, %c1) threads in (%c256, %c1, %c1)
// CHECK: } else {
// CHECK: scf.if
// CHECK: gpu.launch_func @moe_kernels::@unpermute_tokens blocks in (%{{.*}}, %{{.*}}, %c1) threads in (%c256, %c1, %c1)
// CHECK: } else {
// CHECK: gpu.launch_func @moe_kernels::@unpermute_tokens_unaligned
// CHECK: gpu.launch_func @moe_kernels::@unpermute_tokens_aligned16 blocks
// CHECK: gpu.launch_func @moe_kernels::@unpermute_tokens blocks
// CHECK: gpu.launch_func @moe_kernels::@unpermute_tokens_unaligned
// CHECK: gpu.module @moe_kernels
// CHECK-DAG: gpu.func @padded_squared_relu(
// CHECK-DAG: gpu.func @unpermute_tokens({{.*}} workgroup(%{{.*}} : memref<1024xi32, 3>) {{.*}}moe.kernel = {{.*}}chunk_columns = 128 : i64, min_ctas_per_sm = 3 : i64, operands = [{access = "read", address_alignment = 8 : i64, element_bits = 16 : i64, kind = "matrix", name = "y", row_alignment = 8 : i64, row_stride_alignment = 8 : i64}, {{.*}}name = "inverse_map"}, {{.*}}name = "valid_tokens"}, {access = "write", address_alignment = 16 : i64, element_bits = 32 : i64, kind = "matrix", name = "out", row_stride_alignment = 16 : i64}]{{.*}} work = "tokens"}
// CHECK-DAG: gpu.func @unpermute_tokens_aligned16({{.*}}moe.kernel = {base_name_bytes = 16 : i64, chunk_columns = 256 : i64, least_units = 524288 : i64, {{.*}}operands = [{access = "read", address_alignment = 16 : i64, element_bits = 16 : i64, kind = "matrix", name = "y", row_alignment = 16 : i64, row_stride_alignment = 16 : i64}
// CHECK-DAG: gpu.func @unpermute_tokens_unaligned({{.*}}chunk_columns = 64 : i64
// CHECK-NOT: gpu.module
func.func @unpermute(%y: memref<?x?xbf16>, %inverse: memref<?x?xi32>, %valid: memref<i32>,
                     %out: memref<?x?xf32>, %map: memref<?xi32>, %act: memref<?x?xbf16>) {
  moe.padded_squared_relu ins(%y, %map, %valid : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%act : memref<?x?xbf16>)
  moe.unpermute_tokens ins(%act, %inverse, %valid : memref<?x?xbf16>, memref<?x?xi32>, memref<i32>)
    outs(%out : memref<?x?xf32>)
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<?x?xbf16>, memref<?x?xi32>, memref<i32>)
    outs(%out : memref<?x?xf32>)
  return
}
