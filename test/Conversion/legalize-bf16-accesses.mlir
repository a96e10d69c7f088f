// Vectors of bf16 are moved as integers; other types as they are.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-legalize-bf16-accesses | FileCheck %s

// CHECK-LABEL: llvm.func @vectors
// CHECK-SAME: (%[[P:.*]]: !llvm.ptr)
// CHECK-NEXT: %[[BITS:.*]] = llvm.load %[[P]] {alignment = 2 : i64} : !llvm.ptr -> vector<32xi16>
// CHECK-NEXT: %[[V:.*]] = llvm.bitcast %[[BITS]] : vector<32xi16> to vector<32xbf16>
// CHECK-NEXT: %[[SUM:.*]] = llvm.fadd %[[V]], %[[V]] : vector<32xbf16>
// CHECK-NEXT: %[[SUM_BITS:.*]] = llvm.bitcast %[[SUM]] : vector<32xbf16> to vector<32xi16>
// CHECK-NEXT: llvm.store %[[SUM_BITS]], %[[P]] {alignment = 2 : i64} : vector<32xi16>, !llvm.ptr
llvm.func @vectors(%p: !llvm.ptr) {
  %v = llvm.load %p {alignment = 2 : i64} : !llvm.ptr -> vector<32xbf16>
  %sum = llvm.fadd %v, %v : vector<32xbf16>
  llvm.store %sum, %p {alignment = 2 : i64} : vector<32xbf16>, !llvm.ptr
  llvm.return
}

// CHECK-LABEL: llvm.func @others
// CHECK-NOT: llvm.bitcast
// CHECK: llvm.return
llvm.func @others(%p: !llvm.ptr) {
  %scalar = llvm.load %p : !llvm.ptr -> bf16
  %halves = llvm.load %p : !llvm.ptr -> vector<32xf16>
  llvm.store %scalar, %p : bf16, !llvm.ptr
  llvm.store %halves, %p : vector<32xf16>, !llvm.ptr
  llvm.return
}
