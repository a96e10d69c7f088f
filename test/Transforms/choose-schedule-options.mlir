// Options out of range are errors with the range in them, whatever the module holds.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: not moe-opt %s -moe-choose-schedule=num-ctas=0 2>&1 | FileCheck %s --check-prefix=NO-CTAS
// NO-CTAS: error: moe-choose-schedule: expected num-ctas to be from 1 to 65535, found 0

// RUN: not moe-opt %s -moe-choose-schedule=num-ctas=-1 2>&1 | FileCheck %s --check-prefix=NEGATIVE-CTAS
// NEGATIVE-CTAS: error: moe-choose-schedule: expected num-ctas to be from 1 to 65535, found -1

// RUN: not moe-opt %s -moe-choose-schedule=num-ctas=65536 2>&1 | FileCheck %s --check-prefix=MANY-CTAS
// MANY-CTAS: error: moe-choose-schedule: expected num-ctas to be from 1 to 65535, found 65536

// RUN: not moe-opt %s -moe-choose-schedule=threads-per-cta=48 2>&1 | FileCheck %s --check-prefix=THREADS
// THREADS: error: moe-choose-schedule: expected threads-per-cta to be a power of two from 32 to 1024, found 48

// RUN: not moe-opt %s -moe-choose-schedule=threads-per-cta=16 2>&1 | FileCheck %s --check-prefix=FEW-THREADS
// FEW-THREADS: error: moe-choose-schedule: expected threads-per-cta to be a power of two from 32 to 1024, found 16

// RUN: not moe-opt %s -moe-choose-schedule=threads-per-cta=2048 2>&1 | FileCheck %s --check-prefix=MANY-THREADS
// MANY-THREADS: error: moe-choose-schedule: expected threads-per-cta to be a power of two from 32 to 1024, found 2048

// RUN: not moe-opt %s -moe-choose-schedule=access-bytes=8 2>&1 | FileCheck %s --check-prefix=ACCESS
// ACCESS: error: moe-choose-schedule: expected access-bytes to be 16 or 32, found 8

// The ends of the ranges are fine.
// RUN: moe-opt %s -moe-choose-schedule="num-ctas=1 threads-per-cta=32 access-bytes=32" | FileCheck %s
// RUN: moe-opt %s -moe-choose-schedule="num-ctas=65535 threads-per-cta=1024 access-bytes=16" | FileCheck %s
// CHECK: moe.schedule

func.func @activation(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x64xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}
