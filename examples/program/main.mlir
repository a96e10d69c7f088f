// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A whole program: main fills the rows with 1.5, calls the op and prints the first column of
// what comes out. The destination starts as -1, which rows that are not live keep.

memref.global "private" constant @routing : memref<12xi32>
  = dense<[4, 0, -1, -1,  7, -1, -1, -1,  9, 9, 9, 9]>

func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c12 = arith.constant 12 : index
  %one_and_a_half = arith.constant 1.5 : bf16
  %minus_one = arith.constant -1.0 : bf16
  %eight = arith.constant 8 : i32

  %x = memref.alloc() : memref<12x64xbf16>
  linalg.fill ins(%one_and_a_half : bf16) outs(%x : memref<12x64xbf16>)
  %out = memref.alloc() : memref<12x64xbf16>
  linalg.fill ins(%minus_one : bf16) outs(%out : memref<12x64xbf16>)
  %routing = memref.get_global @routing : memref<12xi32>
  %permutation_map = memref.alloc() : memref<12xi32>
  memref.copy %routing, %permutation_map : memref<12xi32> to memref<12xi32>
  %n_used = memref.alloc() : memref<i32>
  memref.store %eight, %n_used[] : memref<i32>

  moe.padded_squared_relu
    ins(%x, %permutation_map, %n_used : memref<12x64xbf16>, memref<12xi32>, memref<i32>)
    outs(%out : memref<12x64xbf16>)

  %zeros = arith.constant dense<0.0> : vector<12xf32>
  %column = scf.for %row = %c0 to %c12 step %c1 iter_args(%above = %zeros)
      -> (vector<12xf32>) {
    %element = memref.load %out[%row, %c0] : memref<12x64xbf16>
    %value = arith.extf %element : bf16 to f32
    %next = vector.insert %value, %above[%row] : f32 into vector<12xf32>
    scf.yield %next : vector<12xf32>
  }
  vector.print %column : vector<12xf32>
  memref.dealloc %x : memref<12x64xbf16>
  memref.dealloc %out : memref<12x64xbf16>
  memref.dealloc %permutation_map : memref<12xi32>
  memref.dealloc %n_used : memref<i32>
  return
}
