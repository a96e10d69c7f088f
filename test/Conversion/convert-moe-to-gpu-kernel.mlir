// The device side: how a warp finds its live rows, and how a chunk of a row is read,
// computed and written.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-gpu -canonicalize -cse | FileCheck %s
// RUN: moe-opt %s -split-input-file -moe-choose-schedule=chip=sm_90 -convert-moe-to-gpu -canonicalize -cse | FileCheck %s --check-prefix=WAIT
// RUN: moe-opt %s -split-input-file -moe-choose-schedule=access-bytes=32 -convert-moe-to-gpu -canonicalize -cse | FileCheck %s --check-prefix=WIDE

// Unrolling the loops over rows and chunks would keep nothing more in flight.
// CHECK: #[[$UNROLL:.*]] = #llvm.loop_unroll<disable = true>
// CHECK: #[[$NO_UNROLL:.*]] = #llvm.loop_annotation<unroll = #[[$UNROLL]]>
//
// Live: below n_used, which counts as 0 if negative and as M if above it, and with a map
// entry that is not negative. The lanes vote, and the warp visits the set bits.
// CHECK-LABEL: gpu.func @padded_squared_relu(
// CHECK-SAME: %[[X_ARG:[^ ]*]]: memref<?x1024xbf16>, %[[MAP_ARG:[^ ]*]]: memref<?xi32>, %[[N_ARG:[^ ]*]]: memref<i32>, %[[OUT_ARG:[^ ]*]]: memref<?x1024xbf16>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[ALL_LANES:.*]] = arith.constant -1 : i32
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : i32
// CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : i32
// An even number of CTAs.
// CHECK: %[[BIT:.*]] = arith.andi %{{.*}}, %[[ONE]] : i32
// CHECK: %[[DENSE:.*]] = arith.cmpi eq, %[[BIT]], %[[ZERO]] : i32
// CHECK-DAG: %[[X:.*]] = memref.memory_space_cast %[[X_ARG]]
// CHECK-DAG: %[[MAP:.*]] = memref.memory_space_cast %[[MAP_ARG]]
// CHECK-DAG: %[[N:.*]] = memref.memory_space_cast %[[N_ARG]]
// CHECK-DAG: %[[OUT:.*]] = memref.memory_space_cast %[[OUT_ARG]]
// CHECK-DAG: %[[ROWS:.*]] = memref.dim %[[X]], %[[C0]]
// CHECK: %[[IN_MAP:.*]] = arith.cmpi slt, %[[FIRST_ROW:.*]], %[[ROWS]] : index
// CHECK: %[[FIRST:.*]] = scf.if %[[IN_MAP]] -> (i32) {
// CHECK-NEXT: memref.load %[[MAP]][%[[FIRST_ROW]]]
// CHECK: } else {
// CHECK-NEXT: scf.yield %[[ALL_LANES]] : i32
// CHECK: %[[N_LOADED:.*]] = memref.load %[[N]][]
//
// A row a warp at most, and up to 1 MiB or expected to be live: it is loaded before the warp looks
// at what it has loaded of n_used and the map.
// CHECK: %[[ONE_ROW:.*]] = arith.cmpi ule, %[[ROWS]], %{{.*}} : index
// CHECK: %[[VECTORS:.*]] = arith.muli %[[ROWS]], %{{.*}} : index
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %[[VECTORS]], %{{.*}} : index
// CHECK: %[[CHEAP:.*]] = arith.ori %[[FEW]], %[[DENSE]] : i1
// CHECK: %[[SMALL:.*]] = arith.andi %[[ONE_ROW]], %[[CHEAP]] : i1
// CHECK: scf.if %[[SMALL]] {
// CHECK: arith.cmpi slt, %[[OWN_ROW:.*]], %[[ROWS]] : index
// CHECK-COUNT-4: vector.load %[[X]][%[[OWN_ROW]],
// CHECK-NOT: vector.load
// CHECK: %[[N_THEN:.*]] = llvm.inline_asm has_side_effects "", "=r,0" %[[N_LOADED]]
// CHECK: %[[N_WIDE:.*]] = arith.index_cast %[[N_THEN]] : i32 to index
// CHECK: %[[OWN_USED:.*]] = arith.cmpi slt, %[[OWN_ROW]], %[[N_WIDE]] : index
// CHECK: %[[FIRST_THEN:.*]] = llvm.inline_asm has_side_effects "", "=r,0" %[[FIRST]]
// CHECK: %[[ANY_TOKEN:.*]] = arith.cmpi sge, %[[FIRST_THEN]], %[[ZERO]] : i32
// CHECK: %[[ANY_VOTE:.*]] = nvvm.vote.sync ballot %[[ALL_LANES]], %[[ANY_TOKEN]] -> i32
// CHECK: %[[OWN_TOKEN:.*]] = arith.cmpi ne, %[[ANY_VOTE]], %[[ZERO]] : i32
// CHECK: %[[OWN_LIVE:.*]] = arith.andi %[[OWN_USED]], %[[OWN_TOKEN]] : i1
// CHECK: scf.if %[[OWN_LIVE]] {
// CHECK-NEXT: vector.store
// CHECK-COUNT-3: vector.store
// CHECK: } else {
// CHECK: %[[N_INDEX:.*]] = arith.index_cast %[[N_LOADED]] : i32 to index
// CHECK: %[[N_LOW:.*]] = arith.maxsi %[[N_INDEX]], %[[C0]] : index
// CHECK: %[[USED:.*]] = arith.minsi %[[N_LOW]], %[[ROWS]] : index
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[USED]] step %{{.*}} iter_args(%[[ENTRY:.*]] = %[[FIRST]]) -> (i32) {
// CHECK: %[[NEXT:.*]] = scf.if
// CHECK: memref.load %[[MAP]][
// CHECK-DAG: %[[IS_TOKEN:.*]] = arith.cmpi sge, %[[ENTRY]], %[[ZERO]] : i32
// CHECK-DAG: %[[IS_USED:.*]] = arith.cmpi slt, %{{.*}}, %[[USED]] : index
// CHECK: %[[IS_LIVE:.*]] = arith.andi %[[IS_USED]], %[[IS_TOKEN]] : i1
// CHECK: %[[VOTE:.*]] = nvvm.vote.sync ballot %[[ALL_LANES]], %[[IS_LIVE]] -> i32
// CHECK: scf.while (%[[BITS:.*]] = %[[VOTE]])
// CHECK-NEXT: %[[MORE:.*]] = arith.cmpi ne, %[[BITS]], %[[ZERO]] : i32
// CHECK-NEXT: scf.condition(%[[MORE]])
// CHECK: ^bb0(%[[REST:.*]]: i32):
// CHECK: math.cttz %[[REST]] : i32
//
// All of a chunk's loads go out before the first is used.
// CHECK: scf.for
// CHECK-COUNT-3: vector.load %[[X]][{{.*}}] {alignment = 16 : i64} : memref<?x1024xbf16, 1>, vector<8xbf16>
// CHECK-NOT: {{arith.maxnumf|arith.mulf|vector.store}}
// CHECK: %[[LAST:.*]] = vector.load %[[X]][{{.*}}] {alignment = 16 : i64} : memref<?x1024xbf16, 1>, vector<8xbf16>
// CHECK-NOT: vector.load
// CHECK: arith.maxnumf
// CHECK: %[[RELU:.*]] = arith.maxnumf %[[LAST]], %{{.*}} : vector<8xbf16>
// CHECK: arith.mulf %[[RELU]], %[[RELU]] : vector<8xbf16>
// CHECK-COUNT-4: vector.store %{{.*}}, %[[OUT]][{{.*}}] {alignment = 16 : i64} : memref<?x1024xbf16, 1>, vector<8xbf16>
// CHECK-NOT: vector.store
// CHECK: } {llvm.loop_annotation = #[[$NO_UNROLL]]}
//
// On to the next bit, and to the entries that were loaded meanwhile.
// CHECK: %[[MINUS_ONE:.*]] = arith.subi %[[REST]], %[[ONE]] : i32
// CHECK: %[[WITHOUT:.*]] = arith.andi %[[REST]], %[[MINUS_ONE]] : i32
// CHECK: scf.yield %[[WITHOUT]] : i32
// CHECK: scf.yield %[[NEXT]] : i32
// CHECK: gpu.return

// A kernel that is launched early accesses no memory before its predecessor is done.
// WAIT-LABEL: gpu.func @padded_squared_relu(
// WAIT-NOT: {{load|store}}
// WAIT: nvvm.griddepcontrol wait
// WAIT-NEXT: nvvm.griddepcontrol launch_dependents
// WAIT: memref.load
// CHECK-NOT: griddepcontrol

// WIDE-LABEL: gpu.func @padded_squared_relu(
// WIDE-COUNT-2: vector.store
// WIDE-NOT: vector.store
// WIDE: } else {
// WIDE: vector.load %{{.*}} {alignment = 32 : i64} : memref<?x1024xbf16, 1>, vector<16xbf16>
// WIDE-NOT: {{arith.maxnumf|vector.store}}
// WIDE: vector.load %{{.*}} {alignment = 32 : i64} : memref<?x1024xbf16, 1>, vector<16xbf16>
// WIDE-NOT: vector.load
// WIDE-COUNT-2: vector.store %{{.*}} {alignment = 32 : i64} : memref<?x1024xbf16, 1>, vector<16xbf16>
// WIDE-NOT: vector.store
// WIDE: gpu.return

// Single elements, where nothing is known of the addresses.
// CHECK-LABEL: gpu.func @padded_squared_relu_unaligned(
// CHECK-NOT: alignment
// CHECK: vector.load %{{.*}} : memref<?x1024xbf16, 1>, vector<1xbf16>
// CHECK-NOT: alignment
// CHECK: vector.store %{{.*}} : memref<?x1024xbf16, 1>, vector<1xbf16>
// CHECK-NOT: alignment
// CHECK: gpu.return
func.func @whole_chunks(%x: memref<?x1024xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                        %out: memref<?x1024xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1024xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1024xbf16>)
  return
}

// -----

// A last chunk of 40 columns, 5 vectors: lanes past it load its last vector, without a
// condition in front of the loads, and store nothing. What is stored is computed in front of
// the condition.
// CHECK-LABEL: gpu.func @padded_squared_relu(
// CHECK-DAG: %[[C4:.*]] = arith.constant 4 : i32
// CHECK-DAG: %[[C5:.*]] = arith.constant 5 : i32
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : i32
// CHECK: math.cttz
// CHECK: scf.for
// CHECK-NOT: scf.if
// CHECK: %[[IN_ROW:.*]] = arith.cmpi slt, %[[VECTOR:.*]], %[[C5]] : i32
// CHECK: %[[CLAMPED:.*]] = arith.minui %[[VECTOR]], %[[C4]] : i32
// CHECK: %[[COLUMN_I32:.*]] = arith.muli %[[CLAMPED]], %[[C8]] : i32
// CHECK: %[[COLUMN:.*]] = arith.index_castui %[[COLUMN_I32]] : i32 to index
// CHECK: vector.load %{{.*}}[%{{.*}}, %[[COLUMN]]]
// CHECK-NOT: scf.if
// CHECK-COUNT-3: vector.load
// CHECK-NOT: vector.store
// CHECK-COUNT-4: llvm.inline_asm has_side_effects "", "=r,0"
// CHECK-NOT: {{vector.extract|arith.maxnumf}}
// CHECK: scf.if %[[IN_ROW]] {
// CHECK-NOT: {{arith.maxnumf|arith.mulf}}
// CHECK: vector.store
// CHECK: gpu.return
func.func @part_of_a_chunk(%x: memref<?x40xbf16>, %map: memref<?xi32>, %n: memref<1xi32>,
                           %out: memref<?x40xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x40xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<?x40xbf16>)
  return
}

// -----

// Quantisation, quad by quad. Of the four lanes of a group each gets the maximum of one step
// in two rounds of shuffles, two steps to a word, and gives the others the factor; four
// scales come together in a lane by two more rounds. The scales leave once for all rows of
// the quad.
// CHECK-LABEL: gpu.func @squared_relu_quantize_mxfp8(
// CHECK-DAG: %[[S1:.*]] = arith.constant 1 : i32
// CHECK-DAG: %[[S2:.*]] = arith.constant 2 : i32
// CHECK-DAG: %[[S32:.*]] = arith.constant 32 : i32
// CHECK-DAG: %[[S4:.*]] = arith.constant 4 : i32
// CHECK-DAG: %[[S8:.*]] = arith.constant 8 : i32
// CHECK: nvvm.vote.sync ballot
// CHECK: scf.while
// CHECK: scf.for
// CHECK: scf.while
// CHECK-COUNT-4: vector.load {{.*}} {alignment = 16 : i64}
// CHECK-NOT: vector.load
// CHECK: gpu.shuffle xor %{{.*}}, %[[S2]], %[[S32]] : i32
// CHECK-NEXT: vector.broadcast
// CHECK-NEXT: vector.bitcast %{{.*}} : vector<1xi32> to vector<2xbf16>
// CHECK-NEXT: arith.maxnumf
// CHECK: gpu.shuffle xor %{{.*}}, %[[S1]], %[[S32]] : i32
// CHECK: arith.maxnumf
// CHECK: gpu.shuffle xor %{{.*}}, %[[S4]], %[[S32]] : i32
// CHECK: gpu.shuffle xor %{{.*}}, %[[S8]], %[[S32]] : i32
// CHECK-COUNT-4: nvvm.shfl.sync idx
// CHECK-NOT: gpu.shuffle
// CHECK: arith.truncf %{{.*}} : vector<8xbf16> to vector<8xf8E4M3FN>
// CHECK-COUNT-4: vector.store {{.*}} {alignment = 8 : i64} : memref<?x1024xf8E4M3FN, 1>, vector<8xf8E4M3FN>
// CHECK: scf.yield
// CHECK: vector.store {{.*}} {alignment = 4 : i64} : memref<?xf8E8M0FNU, 1>, vector<4xf8E8M0FNU>
// CHECK-NOT: store
// CHECK: gpu.return

// A lane has 16 columns, so pairs of lanes share a group.
// WIDE-LABEL: gpu.func @squared_relu_quantize_mxfp8(
// WIDE-COUNT-2: vector.load {{.*}} {alignment = 32 : i64} : memref<?x1024xbf16, 1>, vector<16xbf16>
// WIDE-COUNT-3: gpu.shuffle
// WIDE-NOT: gpu.shuffle
// WIDE-COUNT-2: nvvm.shfl.sync idx
// WIDE-NOT: nvvm.shfl
// WIDE-COUNT-2: vector.store {{.*}} {alignment = 16 : i64} : memref<?x1024xf8E4M3FN, 1>, vector<16xf8E4M3FN>
// WIDE: gpu.return
func.func @quantize(%x: memref<?x1024xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %data: memref<?x1024xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x1024xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x1024xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// -----

// dead_scales<zero> under the swizzled layout clears 16 bytes where no row is live and 4
// next to a row that is, unless that is done with the quad; dead_scales<untouched> clears
// nothing, and stores the scales of live rows alone.
// CHECK-LABEL: gpu.func @quantize_mxfp8(
// CHECK-DAG: vector.store %{{.*}} {alignment = 4 : i64} : memref<?xf8E8M0FNU, 1>, vector<4xf8E8M0FNU>
// CHECK-DAG: vector.store %{{.*}} {alignment = 16 : i64} : memref<?xf8E8M0FNU, 1>, vector<16xf8E8M0FNU>
// CHECK: gpu.return
// CHECK-LABEL: gpu.func @quantize_mxfp8_unaligned(
// CHECK-LABEL: gpu.func @quantize_mxfp8_untouched(
// CHECK-NOT: store {{.*}}xf8E8M0FNU
// CHECK: vector.store {{.*}} {alignment = 4 : i64} : memref<?xf8E8M0FNU, 1>, vector<4xf8E8M0FNU>
// CHECK-NOT: store {{.*}}xf8E8M0FNU
// CHECK: gpu.return
func.func @dead_scales(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                       %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
    dead_scales<untouched>
  return
}

// -----

// The linear layout: a second vote finds the rows to clear, and every row is visited.
// CHECK-LABEL: gpu.func @quantize_mxfp8_linear(
// CHECK: %[[X:.*]] = memref.memory_space_cast %{{.*}} : memref<?x64xbf16>
// CHECK: %[[ROWS:.*]] = memref.dim %[[X]]
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[ROWS]] step
// CHECK: %[[IS_LIVE:.*]] = arith.andi
// CHECK: nvvm.vote.sync ballot %{{.*}}, %[[IS_LIVE]] -> i32
// CHECK: memref.store %{{.*}} : memref<?x2xf8E8M0FNU, 1>
// CHECK: %[[NOT_LIVE:.*]] = arith.xori %[[IS_LIVE]], %{{.*}} : i1
// CHECK: %[[IS_DEAD:.*]] = arith.andi %{{.*}}, %[[NOT_LIVE]] : i1
// CHECK: nvvm.vote.sync ballot %{{.*}}, %[[IS_DEAD]] -> i32
// CHECK: vector.store %{{.*}} : memref<?x2xf8E8M0FNU, 1>, vector<1xf8E8M0FNU>
// CHECK: gpu.return
func.func @linear(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                  %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear>
  return
}
