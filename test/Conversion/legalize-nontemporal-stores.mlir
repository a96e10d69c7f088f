// What LLVM's backend for NVPTX forgets is said in PTX: stores that caches need not keep.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-legalize-nontemporal-stores | FileCheck %s

// CHECK-LABEL: llvm.func @one_access
// CHECK-SAME: (%[[P:.*]]: !llvm.ptr<1>, %[[A:.*]]: vector<8xbf16>, %[[B:.*]]: vector<8xi8>, %[[C:.*]]: i32, %[[D:.*]]: bf16)
llvm.func @one_access(%p: !llvm.ptr<1>, %a: vector<8xbf16>, %b: vector<8xi8>, %c: i32,
                      %d: bf16) {
  // CHECK: %[[WORDS:.*]] = llvm.bitcast %[[A]] : vector<8xbf16> to vector<4xi32>
  // CHECK: %[[AT:.*]] = llvm.ptrtoint %[[P]] : !llvm.ptr<1> to i64
  // CHECK-COUNT-4: llvm.extractelement %[[WORDS]]
  // CHECK: llvm.inline_asm has_side_effects "st.global.cs.v4.b32 [$0], {$1, $2, $3, $4};", "l,r,r,r,r,~{memory}" %[[AT]],
  llvm.store %a, %p {alignment = 16 : i64, nontemporal} : vector<8xbf16>, !llvm.ptr<1>
  // CHECK: llvm.bitcast %[[B]] : vector<8xi8> to vector<2xi32>
  // CHECK: llvm.inline_asm has_side_effects "st.global.cs.v2.b32 [$0], {$1, $2};", "l,r,r,~{memory}"
  llvm.store %b, %p {alignment = 8 : i64, nontemporal} : vector<8xi8>, !llvm.ptr<1>
  // CHECK: llvm.inline_asm has_side_effects "st.global.cs.b32 [$0], $1;", "l,r,~{memory}" %{{.*}}, %[[C]] :
  llvm.store %c, %p {nontemporal} : i32, !llvm.ptr<1>
  // CHECK: %[[HALF:.*]] = llvm.bitcast %[[D]] : bf16 to i16
  // CHECK: llvm.inline_asm has_side_effects "st.global.cs.b16 [$0], $1;", "l,h,~{memory}" %{{.*}}, %[[HALF]] :
  llvm.store %d, %p {nontemporal} : bf16, !llvm.ptr<1>
  // CHECK-NOT: llvm.store
  // CHECK: llvm.return
  llvm.return
}

// In parts, of a size for which there is no access, elsewhere, or more than a store.
// CHECK-LABEL: llvm.func @others
// CHECK-NOT: inline_asm
// CHECK-NOT: nontemporal
// CHECK: llvm.store %{{.*}}, %{{.*}} {alignment = 8 : i64} : vector<8xbf16>, !llvm.ptr<1>
// CHECK: llvm.store %{{.*}} : i8, !llvm.ptr<1>
// CHECK: llvm.store %{{.*}} : i32, !llvm.ptr<3>
// CHECK: llvm.store volatile %{{.*}} : i32, !llvm.ptr<1>
// CHECK: llvm.store %{{.*}} : i32, !llvm.ptr<1>
// CHECK-NOT: inline_asm
llvm.func @others(%p: !llvm.ptr<1>, %q: !llvm.ptr<3>, %a: vector<8xbf16>, %b: i8, %c: i32) {
  llvm.store %a, %p {alignment = 8 : i64, nontemporal} : vector<8xbf16>, !llvm.ptr<1>
  llvm.store %b, %p {nontemporal} : i8, !llvm.ptr<1>
  llvm.store %c, %q {nontemporal} : i32, !llvm.ptr<3>
  llvm.store volatile %c, %p {nontemporal} : i32, !llvm.ptr<1>
  llvm.store %c, %p : i32, !llvm.ptr<1>
  llvm.return
}
