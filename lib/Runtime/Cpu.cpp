//===- Cpu.cpp - The ops on the CPU ---------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Cuts a problem into slices of rows, or of tokens, and has the compiled kernel run them,
// on several threads if there is enough to do. The threads live for one call: a pool
// would not survive a fork, and a call that needs threads lasts much longer than it takes
// to start them.
//
//===----------------------------------------------------------------------===//

#include "Cpu.h"

#include "../Driver/Status.h"
#include "Kernels.h"
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

/// A memref descriptor of up to two dimensions, as llvm.emit_c_interface takes it. One of
/// fewer dimensions ends earlier: its strides follow its sizes.
struct MemRef {
  const void *allocated;
  const void *aligned;
  int64_t offset;
  int64_t sizesAndStrides[4];
};

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
  int64_t sliceTiles;
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

/// Whether a slice of the problem has a part of the operand.
static bool isShared(const Operand &operand, const Problem &problem) {
  Extent shared = getSharedExtent(*problem.request.op);
  return shared != kNoExtent && operand.row->extents[0] == shared;
}

void Work::run(int64_t slice) const {
  // A multiple of the rows of a scale tile, so no two slices share one.
  int64_t firstTile = slice * sliceTiles;
  int64_t begin = firstTile * kScaleTileRows;
  int64_t rows = std::min(sliceTiles * kScaleTileRows, problem.rows - begin);
  int64_t tiles = ceilDiv(rows, kScaleTileRows);
  int32_t usedHere = int32_t(std::clamp<int64_t>(usedRows - begin, 0, rows));

  MemRef memrefs[kMaxOperands];
  void *arguments[kMaxOperands] = {};
  for (int i = 0; i < problem.numOperands; ++i) {
    const Operand &operand = problem.operands[i];
    arguments[i] = &memrefs[i];
    if (operand.isValue()) {
      arguments[i] = operand.data;
      continue;
    }
    bool isCut = isShared(operand, problem);
    const void *data =
        isCut ? operand.at(firstTile * operand.rowTileElements) : operand.data;
    int64_t size = isCut ? rows : operand.rows;
    if (operand.row->form == kCountForm && isCut)
      memrefs[i] = {&usedHere, &usedHere, 0, {}};
    else if (operand.rank == 2)
      memrefs[i] = {data, data, 0, {size, operand.columns, operand.rowStride, 1}};
    else if (operand.row->form != kScalesForm)
      memrefs[i] = {data, data, 0, {size, 1}};
    else
      memrefs[i] = {data, data, 0, {tiles * operand.rowTileElements, 1}};
  }
  kernel(arguments);
}

/// The best level that this machine has, or null.
static const CpuLevel *findLevel() {
  const CpuLevel *best = nullptr;
  for (size_t i = 0; i < kNumCpuLevels; ++i)
    if (kCpuLevels[i].isSupported())
      best = &kCpuLevels[i];
  return best;
}

/// What the operand that counts them says, or all.
static int64_t countUsedRows(const Problem &problem) {
  for (int i = 0; i < problem.numOperands; ++i)
    if (problem.operands[i].row->form == kCountForm &&
        isShared(problem.operands[i], problem))
      return std::clamp<int64_t>(*static_cast<const int32_t *>(problem.operands[i].data),
                                 0, problem.rows);
  return problem.rows;
}

/// The processors that this process may use.
static int64_t countProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return CPU_COUNT(&set);
  // More processors than the set can hold.
  return std::max<int64_t>(1, sysconf(_SC_NPROCESSORS_ONLN));
}

/// Of which slices are made.
static int64_t countTiles(const Problem &problem) {
  return getSharedExtent(*problem.request.op) == kNoExtent
             ? 1
             : ceilDiv(problem.rows, kScaleTileRows);
}

static int64_t chooseThreads(const Problem &problem, int64_t usedRows,
                             int32_t numThreads) {
  int64_t limit = std::min<int64_t>(
      {numThreads == 0 ? kMaxThreads : numThreads, kMaxThreads, countTiles(problem)});
  if (numThreads != 0 || limit == 1)
    return limit;
  // Cannot overflow: the bytes of the destination do not.
  int64_t worth = usedRows * problem.columns / kElementsPerThread;
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

  int64_t usedRows = countUsedRows(problem);
  int64_t threads = chooseThreads(problem, usedRows, numThreads);
  int64_t tiles = countTiles(problem);
  int64_t sliceTiles = tiles;
  // Rows that are not used cost next to nothing, so the others are shared out.
  if (threads != 1)
    sliceTiles = std::max<int64_t>(
        1, ceilDiv(ceilDiv(usedRows, kScaleTileRows), threads * kSlicesPerThread));
  Work work{problem, level->kernels[problem.kernel], usedRows, sliceTiles,
            ceilDiv(tiles, sliceTiles)};
  if (threads == 1)
    work.runAll();
  else
    runThreads(work, threads);
  return MOE_SUCCESS;
}
