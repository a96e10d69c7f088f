//===- program.cpp - A program that uses the runtime library --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The C++ wrapper on the CPU, and on the driver of fake_cuda.c, which is found as any
// libcuda.so.1 is. test_runtime_library.py builds and runs it.
//
//===----------------------------------------------------------------------===//

#include "moe/Runtime/Runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace moe::runtime;

#define EXPECT(condition)                                                                \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::printf("line %d: %s; %s\n", __LINE__, #condition, moeGetLastError());         \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (0)

static void testCPU() {
  // 1, 2 and -3 become 1, 4 and 0 in the first row; the second is padding.
  std::vector<uint16_t> x = {0x3f80, 0x4000, 0xc040, 0x3f80, 0x3f80, 0x3f80};
  std::vector<uint16_t> out(6, 0x1234);
  int32_t map[] = {0, -1}, nUsed = 2;
  MoeMatrix xMatrix = {x.data(), 2, 3, 3}, outMatrix = {out.data(), 2, 3, 3};
  EXPECT(paddedSquaredRelu(onCPU(), xMatrix, map, &nUsed, outMatrix).ok());
  EXPECT((out == std::vector<uint16_t>{0x3f80, 0x4080, 0, 0x1234, 0x1234, 0x1234}));

  const MoeOp *op = nullptr;
  std::fill(out.begin(), out.end(), 0);
  EXPECT(findOp("padded_squared_relu", op).ok());
  EXPECT(runOp(onCPU(), op, {&xMatrix, map, &nUsed, &outMatrix}).ok());
  EXPECT((out == std::vector<uint16_t>{0x3f80, 0x4080, 0, 0, 0, 0}));

  MoeMatrix data = {out.data(), 2, 3, 3};
  Status status = quantizeMXFP8(onCPU(1), xMatrix, map, &nUsed, data, MoeScale());
  EXPECT(status.code() == MOE_INVALID_ARGUMENT);
  EXPECT(status.message() == "x: expected a multiple of 32 columns, found 3");
  int64_t bytes = 0;
  EXPECT(getScaleSize(129, 160, MOE_SCALE_SWIZZLE_32_4_4, bytes).ok() && bytes == 2048);
}

static void testGated() {
  // Gates 32 and 0, and 2 and 1 beside them: silu(32) is 32.
  std::vector<uint16_t> x = {0x4200, 0, 0x4000, 0x3f80}, out(2, 0x1234);
  int32_t map = 0, nUsed = 1;
  float prob = 0.5f;
  MoeMatrix xMatrix = {x.data(), 1, 4, 4}, outMatrix = {out.data(), 1, 2, 2};
  EXPECT(paddedSwiGLU(onCPU(), xMatrix, &map, &nUsed, outMatrix).ok());
  EXPECT((out == std::vector<uint16_t>{0x4280, 0}));
  EXPECT(paddedSwiGLU(onCPU(), xMatrix, &map, &nUsed, outMatrix, {}, &prob).ok());
  EXPECT((out == std::vector<uint16_t>{0x4200, 0}));
  MoeGate gate = {};
  gate.limit = 10;
  EXPECT(paddedSwiGLU(onCPU(), xMatrix, nullptr, &nUsed, outMatrix, gate).ok());
  EXPECT((out == std::vector<uint16_t>{0x41a0, 0}));
  gate.limit = 11;
  EXPECT(paddedSwiGLU(onCPU(), xMatrix, &map, &nUsed, outMatrix, gate).code() ==
         MOE_UNSUPPORTED);
  EXPECT(swigluQuantizeMXFP8(onCPU(), xMatrix, &map, &nUsed, outMatrix, MoeScale())
             .message() == "x: expected a multiple of 64 columns, found 4");

  // 16 times tanh of an eighth is a little less than 2.
  const MoeOp *op = nullptr;
  MoeOptions options = {};
  options.clamp_scale = 16;
  MoeMatrix two = {&x[2], 1, 1, 1}, square = {out.data(), 1, 1, 1};
  EXPECT(findOp("padded_squared_relu", op).ok());
  EXPECT(runOp(onCPU(), op, {&two, &map, &nUsed, &square}, options).ok());
  EXPECT(out[0] < 0x4080 && out[0] > 0x4070);
}

static void testPermutation() {
  // Tokens 0, 1 and 2 of two columns; experts 4 and 5 are here, with 1 and 2 of them.
  std::vector<int32_t> routing = {4, 9, 5, 0, 9, 5};
  std::vector<float> probs = {0.5f, 7, 2, 7, 7, 3}, rowProbs(4, 0), sums(6, 0);
  std::vector<uint16_t> x = {0x3f80, 0, 0x4000, 0, 0x4080, 0}, rows(8, 0x1234);
  std::vector<int32_t> counts(2), exclusive(2), inclusive(2), map(4), inverse(6);
  int32_t valid = 3;
  MoeMatrix routingMatrix = {routing.data(), 3, 2, 2},
            probsMatrix = {probs.data(), 3, 2, 2};
  MoeMatrix inverseMatrix = {inverse.data(), 3, 2, 2}, xMatrix = {x.data(), 3, 2, 2};
  MoeMatrix rowsMatrix = {rows.data(), 4, 2, 2}, sumsMatrix = {sums.data(), 3, 2, 2};
  MoeVector mapVector = {map.data(), 4};
  auto route = [&](MoeIndexType type) {
    return routeTokens(onCPU(), routingMatrix, type, &valid, &probsMatrix, 4, 2,
                       counts.data(), exclusive.data(), inclusive.data(), mapVector,
                       inverseMatrix, rowProbs.data());
  };
  EXPECT(route(MOE_INDEX_I32).ok());
  EXPECT((counts == std::vector<int32_t>{1, 2}));
  EXPECT((exclusive == std::vector<int32_t>{0, 2}));
  EXPECT((inclusive == std::vector<int32_t>{2, 4}));
  EXPECT((map == std::vector<int32_t>{0, -1, 1, 2}));
  EXPECT((inverse == std::vector<int32_t>{0, -1, -1, 2, -1, 3}));
  EXPECT((rowProbs == std::vector<float>{0.5f, 0, 2, 3}));
  EXPECT(route(MoeIndexType(2)).message() ==
         "index_type: expected MOE_INDEX_I32 or MOE_INDEX_I64, found 2");

  EXPECT(permuteTokens(onCPU(), xMatrix, map.data(), &inclusive[1], rowsMatrix).ok());
  EXPECT(
      (rows == std::vector<uint16_t>{0x3f80, 0, 0x1234, 0x1234, 0x4000, 0, 0x4080, 0}));
  EXPECT(permuteQuantizeMXFP8(onCPU(), xMatrix, map.data(), &inclusive[1], rowsMatrix,
                              MoeScale())
             .message() == "x: expected a multiple of 32 columns, found 2");
  EXPECT(unpermuteTokens(onCPU(), rowsMatrix, inverseMatrix, &valid, sumsMatrix).ok());
  EXPECT((sums == std::vector<float>{1, 0, 2, 0, 4, 0}));
  EXPECT(unpermuteTokens(onCPU(), rowsMatrix, inverseMatrix, &valid, sumsMatrix,
                         rowProbs.data())
             .ok());
  EXPECT((sums == std::vector<float>{0.5f, 0, 4, 0, 12, 0}));
}

template <typename Function> static Function *find(void *library, const char *name) {
  return reinterpret_cast<Function *>(dlsym(library, name));
}

static void testCUDA(const std::string &ptx) {
  EXPECT(loadKernels(MOE_CUDA).code() == MOE_NO_CONTEXT);
  void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  EXPECT(driver);
  auto *create = find<void *()>(driver, "fake_create_context");
  auto *makeCurrent = find<void(void *)>(driver, "fake_make_current");
  auto *numLaunches = find<int()>(driver, "fake_num_launches");
  makeCurrent(create());
  EXPECT(loadKernels(MOE_CUDA).ok());

  void *address = &driver;
  int32_t map = 0, nUsed = 1;
  uint64_t other = 0;
  MoeMatrix x = {address, 1, 4, 4}, out = {&other, 1, 4, 4};
  EXPECT(paddedSquaredRelu(onStream(nullptr), x, &map, &nUsed, out).ok());
  EXPECT(numLaunches() == 1);

  Module module, moved;
  EXPECT(!Module::load("junk", 4, module).ok() && !module.get());
  EXPECT(Module::load("// .version 8.0\n", 16, module).code() == MOE_UNSUPPORTED);
  EXPECT(Module::load(ptx.data(), ptx.size(), module).ok() && module.get());
  moved = std::move(module);
  EXPECT(moved.get() && !module.get());
  EXPECT(paddedSquaredRelu(onStream(nullptr, &moved), x, &map, &nUsed, out).ok());
  EXPECT(numLaunches() == 2);
  const MoeOp *op = nullptr;
  EXPECT(moved.find("padded_squared_relu", op).ok());
  EXPECT(runOp(onStream(nullptr), op, {&x, &map, &nUsed, &out}).ok());
  EXPECT(numLaunches() == 3);
  EXPECT(moved.find("squared", op).code() == MOE_INVALID_ARGUMENT);
  EXPECT(module.find("padded_squared_relu", op).message() ==
         "module: expected a pointer, found null");
  EXPECT(moved.unload().ok() && !moved.get());
  EXPECT(moved.unload().ok());
}

/// The argument is a file with PTX of the kernels.
int main(int, char **arguments) {
  std::ifstream file(arguments[1]);
  std::string ptx((std::istreambuf_iterator<char>(file)), {});
  testCPU();
  testGated();
  testPermutation();
  testCUDA(ptx);
  std::puts("passed");
  return 0;
}
