/*===- activation.c - A call of the runtime library --------------*- C -*-===*\
|*                                                                            *|
|* Part of the moe-mlir project, under the Apache License v2.0 with LLVM      *|
|* Exceptions.                                                                *|
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception                    *|
|*                                                                            *|
|*===----------------------------------------------------------------------===*|
|*                                                                            *|
|* Quantises three rows, of which two are live, on the CPU.                   *|
|*                                                                            *|
\*===----------------------------------------------------------------------===*/

#include "moe-c/Runtime.h"

#include <stdio.h>

int main(void) {
  uint16_t x[3][32];
  uint8_t data[3][32] = {{0}}, scales[3] = {0};
  int32_t permutation_map[3] = {1, -1, 0}, n_used = 3;
  MoeLaunch cpu = {MOE_CPU};
  MoeMatrix in = {x, 3, 32, 32}, out = {data, 3, 32, 32};
  MoeScale scale = {scales, sizeof scales, 0, MOE_SCALE_LINEAR, MOE_DEAD_ZERO};

  for (int i = 0; i < 3 * 32; ++i)
    x[i / 32][i % 32] = 0x3fc0; /* 1.5 in bf16 */
  if (moeSquaredReluQuantizeMXFP8(&cpu, &in, permutation_map, &n_used, &out, &scale) !=
      MOE_SUCCESS) {
    fprintf(stderr, "%s\n", moeGetLastError());
    return 1;
  }
  /* 1.5 * 1.5 = 2.25 = 288 * 2^(120 - 127). */
  for (int row = 0; row < 3; ++row)
    printf("row %d: scale %d, data %#x\n", row, scales[row], data[row][0]);
  return 0;
}
