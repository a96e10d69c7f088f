// moe-share-host-memory: what the host allocates, and constants that reach a kernel.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s --split-input-file --verify-diagnostics \
// RUN:   --moe-share-host-memory | FileCheck %s

// CHECK-LABEL: func.func @allocation(
// CHECK-SAME:    %[[SIZE:.*]]: index)
func.func @allocation(%size: index) {
  // CHECK: %[[MEMREF:.*]] = gpu.alloc host_shared (%[[SIZE]]) : memref<?x4xf32>
  %0 = memref.alloc(%size) {alignment = 64 : i64} : memref<?x4xf32>
  // CHECK: %[[START:.*]] = gpu.wait async
  // CHECK: %[[FREED:.*]] = gpu.dealloc async [%[[START]]] %[[MEMREF]] : memref<?x4xf32>
  // CHECK: gpu.wait [%[[FREED]]]
  memref.dealloc %0 : memref<?x4xf32>
  return
}

// -----

module attributes {gpu.container_module} {
gpu.module @kernels {
  gpu.func @kernel(%x: memref<4xi32, strided<[1], offset: ?>>) kernel {
    // A kernel's memory is its own.
    // CHECK: memref.alloca()
    %0 = memref.alloca() : memref<4xi32>
    gpu.return
  }
}

memref.global "private" constant @constant : memref<8xi32> = dense<1>
memref.global "private" constant @other : memref<8xi32> = dense<2>

// CHECK-LABEL: func.func @constants(
func.func @constants(%condition: i1) -> i32 {
  // CHECK: %[[GLOBAL:.*]] = memref.get_global @constant
  // CHECK: %[[COPY:.*]] = gpu.alloc host_shared () : memref<8xi32>
  // CHECK: memref.copy %[[GLOBAL]], %[[COPY]]
  // CHECK: scf.if
  // CHECK: %[[VIEW:.*]] = memref.subview %[[COPY]]
  // CHECK: gpu.launch_func {{.*}} args(%[[VIEW]] :
  %c1 = arith.constant 1 : index
  scf.if %condition {
    %0 = memref.get_global @constant : memref<8xi32>
    %1 = memref.subview %0[%c1] [4] [1] : memref<8xi32> to memref<4xi32, strided<[1], offset: ?>>
    gpu.launch_func @kernels::@kernel blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
      args(%1 : memref<4xi32, strided<[1], offset: ?>>)
  }
  // The host reads its own.
  // CHECK: %[[OTHER:.*]] = memref.get_global @other
  // CHECK: %[[VALUE:.*]] = memref.load %[[OTHER]]
  %2 = memref.get_global @other : memref<8xi32>
  %3 = memref.load %2[%c1] : memref<8xi32>
  // CHECK: gpu.dealloc async {{.*}} %[[COPY]]
  // CHECK: gpu.wait
  // CHECK: return %[[VALUE]]
  return %3 : i32
}

func.func private @callee(%x: memref<8xi32>)

// A function that is called may launch a kernel, and a result is the caller's.
// CHECK-LABEL: func.func @escaping(
// CHECK: %[[COPY:.*]] = gpu.alloc host_shared () : memref<8xi32>
// CHECK: call @callee(%[[COPY]])
// CHECK-NOT: gpu.dealloc
// CHECK: return %[[COPY]]
func.func @escaping() -> memref<8xi32> {
  %0 = memref.get_global @constant : memref<8xi32>
  call @callee(%0) : (memref<8xi32>) -> ()
  return %0 : memref<8xi32>
}
}

// -----

module attributes {gpu.container_module} {
gpu.module @kernels {
  gpu.func @kernel(%x: memref<4xi32, strided<[1], offset: ?>>) kernel {
    gpu.return
  }
}

func.func @stack() {
  %c1 = arith.constant 1 : index
  // The host's own use of its stack is fine.
  %0 = memref.alloca() : memref<4xi32>
  %1 = memref.load %0[%c1] : memref<4xi32>
  // expected-error @below {{expected memref.alloc for what a kernel may access, found memory on the host's stack}}
  %2 = memref.alloca() : memref<4xi32>
  %3 = memref.cast %2 : memref<4xi32> to memref<4xi32, strided<[1], offset: ?>>
  gpu.launch_func @kernels::@kernel blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    args(%3 : memref<4xi32, strided<[1], offset: ?>>)
  return
}
}

// -----

func.func @realloc(%size: index) -> memref<?xi32> {
  %0 = memref.alloc() : memref<4xi32>
  // expected-error @below {{expected allocation, copy and deallocation instead, as expand-realloc makes them}}
  %1 = memref.realloc %0(%size) : memref<4xi32> to memref<?xi32>
  return %1 : memref<?xi32>
}

// -----

// Only what is called may launch; an address may be that of any function.
module attributes {gpu.container_module} {
gpu.module @kernels {
  gpu.func @kernel(%x: memref<4xi32>) kernel {
    gpu.return
  }
}

memref.global "private" constant @constant : memref<4xi32> = dense<1>

func.func @host_only(%x: memref<4xi32>) {
  return
}

func.func @launch(%x: memref<4xi32>) {
  %c1 = arith.constant 1 : index
  gpu.launch_func @kernels::@kernel blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    args(%x : memref<4xi32>)
  return
}

func.func @launch_through(%x: memref<4xi32>) {
  call @launch(%x) : (memref<4xi32>) -> ()
  return
}

// CHECK-LABEL: func.func @calls(
// CHECK: %[[COPY:.*]] = gpu.alloc host_shared
// CHECK: %[[CONSTANT:.*]] = memref.get_global @constant
// CHECK: call @host_only(%[[CONSTANT]])
// CHECK: call @launch_through(%[[COPY]])
func.func @calls() {
  %0 = memref.alloca() : memref<4xi32>
  call @host_only(%0) : (memref<4xi32>) -> ()
  %1 = memref.get_global @constant : memref<4xi32>
  call @host_only(%1) : (memref<4xi32>) -> ()
  %2 = memref.get_global @constant : memref<4xi32>
  call @launch_through(%2) : (memref<4xi32>) -> ()
  return
}

// CHECK-LABEL: func.func @indirect(
// CHECK: %[[COPY:.*]] = gpu.alloc host_shared
// CHECK: call_indirect %{{.*}}(%[[COPY]])
func.func @indirect(%f: (memref<4xi32>) -> ()) {
  %0 = memref.get_global @constant : memref<4xi32>
  call_indirect %f(%0) : (memref<4xi32>) -> ()
  return
}
}

// -----

module attributes {gpu.container_module} {
gpu.module @kernels {
  gpu.func @kernel(%x: memref<4xi32>) kernel {
    gpu.return
  }
}
memref.global "private" @variable : memref<4xi32> = dense<1>
func.func private @external(%x: memref<4xi32>)
func.func @global() {
  %c1 = arith.constant 1 : index
  // No kernel that is known of.
  %1 = memref.get_global @variable : memref<4xi32>
  call @external(%1) : (memref<4xi32>) -> ()
  // expected-error @below {{expected a constant, or memref.alloc for what a kernel may write, found the global 'variable'}}
  %0 = memref.get_global @variable : memref<4xi32>
  gpu.launch_func @kernels::@kernel blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    args(%0 : memref<4xi32>)
  return
}
}

// -----

// CHECK-LABEL: func.func @symbols(
// CHECK: gpu.alloc host_shared (%[[N:.*]])[%[[N]]] : memref<?xi32, #{{.*}}>
func.func @symbols(%n: index) -> memref<?xi32, affine_map<(d0)[s0] -> (d0 * s0)>> {
  %0 = memref.alloc(%n)[%n] : memref<?xi32, affine_map<(d0)[s0] -> (d0 * s0)>>
  return %0 : memref<?xi32, affine_map<(d0)[s0] -> (d0 * s0)>>
}

// -----

func.func @alignment() -> memref<4xi32> {
  // expected-error @below {{expected an alignment of at most 256 bytes, found 512}}
  %0 = memref.alloc() {alignment = 512 : i64} : memref<4xi32>
  return %0 : memref<4xi32>
}

// -----

// What managed memory is aligned to.
// CHECK-LABEL: func.func @greatest_alignment(
// CHECK: gpu.alloc host_shared () : memref<4xi32>
func.func @greatest_alignment() -> memref<4xi32> {
  %0 = memref.alloc() {alignment = 256 : i64} : memref<4xi32>
  return %0 : memref<4xi32>
}
