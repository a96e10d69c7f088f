// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A kernel that somebody else wrote: each row of x, by a CTA, is scaled by the greatest of its
// magnitudes and rounded to E4M3.
module attributes {gpu.container_module} {
  gpu.module @user {
    gpu.func @scale_rows(%x: memref<?x256xbf16>, %out: memref<?x256xf8E4M3FN>) kernel {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c5 = arith.constant 5 : index
      %c8 = arith.constant 8 : index
      %zero = arith.constant 0.0 : f32
      %row = gpu.block_id x
      %lane = gpu.lane_id
      %column = affine.apply affine_map<(d0) -> (d0 * 8)>(%lane)
      %slice = memref.subview %x[%row, 0] [1, 256] [1, 1]
        : memref<?x256xbf16> to memref<256xbf16, strided<[1], offset: ?>>
      %v = vector.load %slice[%column] : memref<256xbf16, strided<[1], offset: ?>>, vector<8xbf16>
      %wide = arith.extf %v : vector<8xbf16> to vector<8xf32>
      %own = scf.for %i = %c0 to %c8 step %c1 iter_args(%max = %zero) -> f32 {
        %e = vector.extract %wide[%i] : f32 from vector<8xf32>
        %m = math.absf %e : f32
        %n = arith.maxnumf %max, %m : f32
        scf.yield %n : f32
      }
      %half = arith.constant 16 : i32
      %width = arith.constant 32 : i32
      %one = arith.constant 1 : i32
      %all, %end = scf.for %i = %c0 to %c5 step %c1
          iter_args(%max = %own, %offset = %half) -> (f32, i32) {
        %other, %valid = gpu.shuffle xor %max, %offset, %width : f32
        %m = arith.maxnumf %max, %other : f32
        %next = arith.shrui %offset, %one : i32
        scf.yield %m, %next : f32, i32
      }
      %least = arith.constant 1.0e-30 : f32
      %divisor = arith.maxnumf %all, %least : f32
      %splat = vector.broadcast %divisor : f32 to vector<8xf32>
      %scaled = arith.divf %wide, %splat : vector<8xf32>
      %bytes = arith.truncf %scaled : vector<8xf32> to vector<8xf8E4M3FN>
      vector.store %bytes, %out[%row, %column] : memref<?x256xf8E4M3FN>, vector<8xf8E4M3FN>
      gpu.return
    }
  }
}
