//===- Cpu.cpp - The ops on the CPU ---------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Cuts a problem into slices of rows and has the compiled kernel run them, on several
// threads if there is enough to do. The threads live for one call: a pool would not
// survive a fork, and a call that needs threads lasts much longer than it takes to start
// them.
//
//===----------------------------------------------------------------------===//

#include "Cpu.h"

#include "Kernels.h"
#include "Status.h"
#include <algorithm>
#include <atomic>
#include <csignal>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

using namespace moe;

/// Elements that are worth a thread: they take several times what it costs to start one.
static constexpr int64_t kElementsPerThread = int64_t(1) << 20;
static constexpr int64_t kMaxThreads = 256;
/// So that a thread with cheap rows (those without a token) finds more to do.
static constexpr int64_t kSlicesPerThread = 4;

namespace {

/// A memref descriptor of rank 0, 1 or 2, as llvm.emit_c_interface takes it.
template <int rank> struct MemRef {
  MemRef(const void *data) : allocated(data), aligned(data), offset(0) {}
  const void *allocated;
  const void *aligned;
  int64_t offset;
  int64_t sizesAndStrides[2 * rank];
};
template <> struct MemRef<0> {
  MemRef(const void *data) : allocated(data), aligned(data), offset(0) {}
  const void *allocated;
  const void *aligned;
  int64_t offset;
};

MemRef<1> makeVector(const void *data, int64_t size) {
  MemRef<1> result(data);
  result.sizesAndStrides[0] = size;
  result.sizesAndStrides[1] = 1;
  return result;
}

MemRef<2> makeMatrix(const void *data, int64_t rows, int64_t columns, int64_t rowStride) {
  MemRef<2> result(data);
  result.sizesAndStrides[0] = rows;
  result.sizesAndStrides[1] = columns;
  result.sizesAndStrides[2] = rowStride;
  result.sizesAndStrides[3] = 1;
  return result;
}

/// The default floating-point environment for a while: with the caller's, subnormals
/// might be flushed, or results rounded elsewhere.
class DefaultFloatEnvironment {
#if defined(__SSE2__)
public:
  DefaultFloatEnvironment() : saved(_mm_getcsr()) { _mm_setcsr(kAllMaskedNearest); }
  ~DefaultFloatEnvironment() { _mm_setcsr(saved); }

private:
  static constexpr unsigned kAllMaskedNearest = 0x1f80;
  unsigned saved;
#endif
};

/// A problem cut into slices that threads take one after another.
struct Work {
  const Problem &problem;
  CpuKernel kernel;
  int64_t usedRows;
  int64_t sliceRows;
  int64_t numSlices;
  std::atomic<int64_t> next{0};

  void run(int64_t slice) const;
  void runAll() {
    DefaultFloatEnvironment environment;
    for (int64_t slice; (slice = next.fetch_add(1)) < numSlices;)
      run(slice);
  }
};

} // namespace

void Work::run(int64_t slice) const {
  // A multiple of the rows of a scale tile, so no two slices share one.
  int64_t begin = slice * sliceRows;
  int64_t rows = std::min(sliceRows, problem.x.rows - begin);
  int32_t usedHere = int32_t(std::clamp<int64_t>(usedRows - begin, 0, rows));
  auto slide = [](void *data, int64_t bytes) {
    return static_cast<char *>(data) + bytes;
  };

  int64_t outBytes = problem.isQuantizing() ? 1 : 2;
  MemRef<2> x = makeMatrix(slide(problem.x.data, begin * problem.x.row_stride * 2), rows,
                           problem.x.columns, problem.x.row_stride);
  MemRef<1> permutationMap = makeVector(problem.permutationMap + begin, rows);
  MemRef<0> nUsed(&usedHere);
  MemRef<2> out =
      makeMatrix(slide(problem.out.data, begin * problem.out.row_stride * outBytes), rows,
                 problem.out.columns, problem.out.row_stride);
  if (!problem.isQuantizing())
    return kernel(&x, &permutationMap, &nUsed, &out, nullptr);
  if (problem.hasLinearScale()) {
    MemRef<2> scale =
        makeMatrix(slide(problem.scale.data, begin * problem.scale.row_stride), rows,
                   problem.x.columns / kGroupSize, problem.scale.row_stride);
    return kernel(&x, &permutationMap, &nUsed, &out, &scale);
  }
  int64_t tileRowBytes = problem.columnTiles() * kScaleTileBytes;
  MemRef<1> scale =
      makeVector(slide(problem.scale.data, begin / kScaleTileRows * tileRowBytes),
                 ceilDiv(rows, kScaleTileRows) * tileRowBytes);
  kernel(&x, &permutationMap, &nUsed, &out, &scale);
}

/// The best level that this machine has, or null.
static const CpuLevel *findLevel() {
  const CpuLevel *best = nullptr;
  for (size_t i = 0; i < kNumCpuLevels; ++i)
    if (kCpuLevels[i].isSupported())
      best = &kCpuLevels[i];
  return best;
}

/// The processors that this process may use.
static int64_t countProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return CPU_COUNT(&set);
  // More processors than the set can hold.
  return std::max<int64_t>(1, sysconf(_SC_NPROCESSORS_ONLN));
}

static int64_t chooseThreads(const Problem &problem, int64_t usedRows,
                             int32_t numThreads) {
  int64_t limit =
      std::min<int64_t>({numThreads == 0 ? kMaxThreads : numThreads, kMaxThreads,
                         ceilDiv(problem.x.rows, kScaleTileRows)});
  if (numThreads != 0 || limit == 1)
    return limit;
  // Cannot overflow: the bytes of x do not.
  int64_t worth = usedRows * problem.x.columns / kElementsPerThread;
  if (worth <= 1)
    return 1;
  return std::min({limit, worth, countProcessors()});
}

static void *runThread(void *work) {
  static_cast<Work *>(work)->runAll();
  return nullptr;
}

static void runThreads(Work &work, int64_t numThreads) {
  // The threads are not meant to handle the process's signals.
  sigset_t all, saved;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &saved);
  pthread_t threads[kMaxThreads];
  int64_t started = 0;
  // Where no more threads can be started, those that there are do all the work.
  while (started < numThreads - 1 &&
         pthread_create(&threads[started], nullptr, runThread, &work) == 0)
    ++started;
  pthread_sigmask(SIG_SETMASK, &saved, nullptr);
  work.runAll();
  for (int64_t i = 0; i < started; ++i)
    pthread_join(threads[i], nullptr);
}

MoeStatus moe::runOnCPU(const Problem &problem, int32_t numThreads) {
  if (numThreads < 0)
    return fail(MOE_INVALID_ARGUMENT,
                "num_threads: expected 0 or a number of threads, found %d", numThreads);
  const CpuLevel *level = findLevel();
  if (!level)
    return fail(MOE_UNSUPPORTED,
                "this processor lacks instructions of %s, the least "
                "that the library's CPU kernels need",
                kCpuLevels[0].name);

  int64_t usedRows = std::clamp<int64_t>(*problem.nUsed, 0, problem.x.rows);
  int64_t threads = chooseThreads(problem, usedRows, numThreads);
  int64_t tiles = ceilDiv(problem.x.rows, kScaleTileRows);
  int64_t sliceTiles = tiles;
  // Rows that are not used cost next to nothing, so the others are shared out.
  if (threads != 1)
    sliceTiles = std::max<int64_t>(
        1, ceilDiv(ceilDiv(usedRows, kScaleTileRows), threads * kSlicesPerThread));
  Work work{problem, level->kernels[problem.kernelIndex()], usedRows,
            sliceTiles * kScaleTileRows, ceilDiv(tiles, sliceTiles)};
  if (threads == 1)
    work.runAll();
  else
    runThreads(work, threads);
  return MOE_SUCCESS;
}
