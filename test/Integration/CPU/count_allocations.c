// What a lowered program gets in the place of malloc and free, and of the mgpu functions:
// it counts, and prints at the end what is still allocated.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BLOCKS = 1 << 16 };
static struct {
  void *address;
  int isDevice;
} blocks[MAX_BLOCKS];
static int numBlocks, numAllocated, numFaults;

static void *record(size_t size, int isDevice) {
  // Nothing is given back, so that no address comes twice and a late access is seen.
  void *address = NULL;
  if (numBlocks == MAX_BLOCKS || posix_memalign(&address, 256, size ? size : 1))
    abort();
  memset(address, 0x5a, size);
  blocks[numBlocks].address = address;
  blocks[numBlocks++].isDevice = isDevice;
  ++numAllocated;
  return address;
}

static void forget(void *address, int isDevice) {
  for (int i = 0; i < numBlocks; ++i) {
    if (blocks[i].address != address || blocks[i].isDevice != isDevice)
      continue;
    blocks[i] = blocks[--numBlocks];
    return;
  }
  ++numFaults;
}

void *countedMalloc(size_t size) { return record(size, 0); }
void countedFree(void *address) { forget(address, 0); }

__attribute__((destructor)) static void report(void) {
  int live[2] = {0, 0};
  for (int i = 0; i < numBlocks; ++i)
    ++live[blocks[i].isDevice];
  printf("allocated %d live %d %d faults %d\n", numAllocated, live[0], live[1],
         numFaults);
  fflush(stdout);
}

// The caller's own, which the program may return.
void *mgpuMemAlloc(uint64_t size, void *stream, uint8_t isHostShared) {
  return record(size, 1);
}
void mgpuMemFree(void *address, void *stream) { forget(address, 1); }
void *mgpuModuleLoad(void *data, size_t size) { return data; }
void *mgpuModuleLoadJIT(void *data, int level) { return data; }
void mgpuModuleUnload(void *module) {}
void *mgpuModuleGetFunction(void *module, const char *name) { return module; }
void mgpuLaunchKernel(void *function, intptr_t gridX, intptr_t gridY, intptr_t gridZ,
                      intptr_t blockX, intptr_t blockY, intptr_t blockZ, int32_t shared,
                      void *stream, void **parameters, void **extra, size_t count) {}
void *mgpuStreamCreate(void) { return blocks; }
void mgpuStreamDestroy(void *stream) {}
void mgpuStreamSynchronize(void *stream) {}
