// The PTX of the ops between tokens and rows: atomics that order nothing else, products and sums that
// ptxas may not contract, and no 64-bit division.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90 | moe-translate --moe-to-ptx -o %t.ptx
// RUN: FileCheck %s --input-file=%t.ptx --implicit-check-not=fma. --implicit-check-not=mad.rn \
// RUN:   --implicit-check-not=membar --implicit-check-not=fence. --implicit-check-not=.acq_rel \
// RUN:   --implicit-check-not=div.u64 --implicit-check-not=div.s64 --implicit-check-not=rem. \
// RUN:   --implicit-check-not=.local --implicit-check-not=.extern --implicit-check-not=.ftz
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_100 | moe-translate --moe-to-ptx \
// RUN:   | FileCheck %s --check-prefix=WIDE --implicit-check-not=fma.

// CHECK-LABEL: .entry route_tokens_cluster8(
// CHECK: .maxntid 1024
// CHECK: .explicitcluster
// CHECK-NEXT: .reqnctapercluster 8, 1, 1
// CHECK: griddepcontrol.wait;
// CHECK-COUNT-24: ld.global.b32
// CHECK: bar.sync 0;
// CHECK: atom.shared.add.u32 {{.*}}, 1;
// CHECK: barrier.cluster.arrive.aligned;
// CHECK: barrier.cluster.wait.aligned;
// CHECK: mapa.shared::cluster.u64
// CHECK-NEXT: ld.shared::cluster.b32
// CHECK: vote.sync.ballot.b32
// CHECK: match.any.sync.b32
// CHECK: global.max.s32
// CHECK: barrier.cluster.wait.aligned;
// CHECK: ret;
// CHECK-LABEL: .entry route_tokens(
// CHECK: .minnctapersm 1
// CHECK: griddepcontrol.wait;
// CHECK: ld.global
// CHECK: bar.sync 0;
// CHECK: atom.shared.add.u32 {{.*}}, 1;
// CHECK: vote.sync.ballot.b32
// CHECK: bar.sync 0;
// CHECK: redux.sync.add.s32
// CHECK: atom.shared.max.s32
// CHECK: bar.sync 0;
// CHECK-NOT: bar.sync
// CHECK: ret;
func.func @route(%routing: memref<?x?xi32>, %valid: memref<i32>, %first: i32, %align: i32,
                 %counts: memref<?xi32>, %exclusive: memref<?xi32>,
                 %inclusive: memref<?xi32>, %map: memref<?xi32>, %inverse: memref<?x?xi32>) {
  moe.route_tokens ins(%routing, %valid : memref<?x?xi32>, memref<i32>)
    first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?x?xi32>)
  return
}

// CHECK-LABEL: .entry unpermute_tokens_probs(
// CHECK: bar.warp.sync
// CHECK: ld.global.v4.b16
// CHECK: mul.rn.f32
// CHECK: add.rn.f32
// CHECK: st.global.v4.b32
// CHECK: ret;
// CHECK-LABEL: .entry unpermute_tokens_probs_unaligned(
// CHECK: mul.rn.f32
// CHECK: add.rn.f32
// WIDE: mul.rn.f32
// WIDE: add.rn.f32
func.func @unpermute(%y: memref<?x?xbf16>, %inverse: memref<?x?xi32>, %valid: memref<i32>,
                     %probs: memref<?xf32>, %out: memref<?x?xf32>) {
  moe.unpermute_tokens
    ins(%y, %inverse, %valid : memref<?x?xbf16>, memref<?x?xi32>, memref<i32>)
    probs(%probs : memref<?xf32>) outs(%out : memref<?x?xf32>)
  return
}
