//===- ChooseSchedule.cpp - The schedule of each op -----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-choose-schedule: the table of schedules, and the choice of a row for an op.
// docs/performance.md says what was measured.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "moe/Target/Chip.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOECHOOSESCHEDULE
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

namespace {

/// Where the scales of an op's format go, which decides how rows go to warps.
using Scales = std::optional<ScaleLayout>;

struct Row {
  // What it is for: chips from this compute capability on, and ops with such scales.
  unsigned capability;
  Scales scales;
  // What it says.
  int64_t threads;
  int64_t threadsPerSM;
  int64_t accessBytes;
  /// Of a lane.
  int64_t bytesInFlight;
  RowOrder rows;
  int64_t earlyBytes;
  int64_t clearBytes;
  bool waits;
};

} // namespace

// 64 bytes in flight for each lane are 1024 columns a chunk, and one scale for each lane.
// 1 MiB is what an H100 loads in the time that one load takes. 1024 threads on an SM:
// with more, ptxas would spill.
static constexpr Scales kNone = std::nullopt, kSwizzled = ScaleLayout::Swizzle32_4_4,
                        kLinear = ScaleLayout::Linear;
static constexpr Row table[] = {
    {80, kNone, 256, 1024, 16, 64, RowOrder::Single, 1 << 20, 1, false},
    {80, kSwizzled, 256, 1024, 16, 64, RowOrder::Quads, 0, 16, false},
    {80, kLinear, 256, 1024, 16, 64, RowOrder::Single, 0, 1, false},
    {90, kNone, 256, 1024, 16, 64, RowOrder::Single, 1 << 20, 1, true},
    {90, kSwizzled, 256, 1024, 16, 64, RowOrder::Quads, 0, 16, true},
    {90, kLinear, 256, 1024, 16, 64, RowOrder::Single, 0, 1, true},
    {100, kNone, 256, 1024, 32, 64, RowOrder::Single, 1 << 20, 1, true},
    {100, kSwizzled, 256, 1024, 32, 64, RowOrder::Quads, 0, 16, true},
    {100, kLinear, 256, 1024, 32, 64, RowOrder::Single, 0, 1, true},
};

/// For rows that may start anywhere: neighbouring elements in neighbouring lanes coalesce
/// without alignment, and a group of the quantising ops is a step.
static constexpr int64_t kElementBytes = 2;
static constexpr int64_t kElementSteps = 2;

/// From which compute capability on CTAs come in clusters.
static constexpr unsigned kClusterCapability = 90;

/// No supported chip has room for more CTAs of a kernel.
static constexpr int64_t kMaxCTAsPerSM = 16;

static const Row &getRow(unsigned capability, Scales scales) {
  const Row *chosen = nullptr;
  for (const Row &row : table)
    if (row.scales == scales && (!chosen || row.capability <= capability))
      chosen = &row;
  return *chosen;
}

static Schedule getSchedule(const Row &row, const ScheduleTarget &target) {
  Schedule schedule;
  schedule.threads = target.threadsPerCTA ? target.threadsPerCTA : row.threads;
  schedule.accessBytes = target.accessBytes ? target.accessBytes : row.accessBytes;
  schedule.steps = row.bytesInFlight / schedule.accessBytes;
  schedule.rows = row.rows;
  schedule.earlyBytes = row.earlyBytes;
  schedule.clearBytes = row.clearBytes;
  schedule.minCTAs = std::min(row.threadsPerSM / schedule.threads, kMaxCTAsPerSM);
  schedule.numCTAs = target.numCTAs;
  schedule.alignment = schedule.accessBytes;
  schedule.waits = row.waits;
  return schedule;
}

/// The same for rows that may start anywhere.
static Schedule toElements(Schedule schedule) {
  schedule.accessBytes = schedule.alignment = kElementBytes;
  schedule.steps = kElementSteps;
  schedule.rows = RowOrder::Single;
  schedule.earlyBytes = schedule.earlySteps = 0;
  schedule.clearBytes = 1;
  return schedule;
}

SmallVector<Schedule> mlir::moe::chooseSchedules(PaddingAwareOpInterface op,
                                                 const ScheduleTarget &target) {
  FormatAttrInterface format = op.getFormat();
  Schedule schedule =
      getSchedule(getRow(target.capability, format.getScheduledScales()), target);
  PairsAttr pairs = op.getColumnPairs();
  // Which row to load is known no earlier than whether it is live. And it is loaded once
  // for each expert of its token.
  if (op.getGathers()) {
    schedule.earlyBytes = 0;
    schedule.keepsX = true;
  }
  if (op.getDeadRows() == DeadRows::Zero) {
    schedule.rows = RowOrder::Single;
    schedule.earlyBytes = 0;
    schedule.clearBytes = 1;
  }
  // A step of pairs has twice the bytes. A quad's chunks have the steps that they need.
  if (pairs && !schedule.hasQuads()) {
    schedule.steps /= 2;
    int64_t minSteps = format.getMinSteps(schedule);
    if (schedule.steps < minSteps) {
      schedule.accessBytes /= 2;
      schedule.alignment = schedule.accessBytes;
      schedule.steps = minSteps;
    }
  }
  // What is computed of two columns is a long chain, so that of a small input it takes
  // longer than its loads: half of it for each of twice as many warps.
  if (pairs && schedule.earlyBytes != 0 && schedule.steps > 1)
    schedule.earlySteps = schedule.steps / 2;
  // Two fragments of a quad and what is computed of them do not fit into the registers of
  // four CTAs.
  if (pairs && schedule.hasQuads())
    schedule.minCTAs = std::max<int64_t>(schedule.minCTAs * 3 / 4, 1);
  if (pairs && !pairs.haveVectors(schedule.elements()))
    return {toElements(schedule)};
  return {schedule, toElements(schedule)};
}

SmallVector<Schedule> mlir::moe::chooseSchedules(PermutationOpInterface op,
                                                 const ScheduleTarget &target) {
  Schedule schedule;
  schedule.numCTAs = target.numCTAs;
  schedule.waits = target.capability >= 90;
  if (isa<RouteTokensOp>(op.getOperation())) {
    // 12 pairs a thread: the routing of 256 tokens to 22 experts each at once.
    schedule.threads = 512;
    schedule.minCTAs = 1;
    // And that of 4096 tokens, in as many CTAs as every chip can have in a cluster.
    constexpr int64_t kCluster = 8;
    if (target.capability < kClusterCapability || target.numCTAs < kCluster)
      return {schedule};
    Schedule clusters = schedule;
    clusters.threads = Schedule::kClusterThreads;
    clusters.cluster = kCluster;
    return {clusters, schedule};
  }
  // A lane stores 16 bytes of the sum and has 8 bytes of each of 8 rows in flight.
  schedule.threads = target.threadsPerCTA ? target.threadsPerCTA : 256;
  schedule.accessBytes = schedule.alignment = 8;
  schedule.steps = 1;
  // With 1024 threads on an SM ptxas would spill.
  schedule.minCTAs = std::clamp<int64_t>(768 / schedule.threads, 1, kMaxCTAsPerSM);
  // Of many tokens, which have few rows each, 16 bytes of 4 rows.
  Schedule wide = schedule;
  wide.accessBytes = wide.alignment = 16;
  Schedule elements = schedule;
  elements.accessBytes = elements.alignment = kElementBytes;
  elements.steps = kElementSteps;
  return {wide, schedule, elements};
}

static StringRef toString(Scales scales) {
  if (!scales)
    return "none";
  return *scales == ScaleLayout::Linear ? "linear" : "swizzled";
}

static void printTable(MLIRContext *context, raw_ostream &os) {
  os << "| from | scales | schedules |\n|---|---|---|\n";
  for (const Row &row : table) {
    Schedule schedule = getSchedule(row, ScheduleTarget());
    os << "| sm_" << row.capability << " | " << toString(row.scales) << " | `"
       << ScheduleAttr::get(context, schedule) << "`, `"
       << ScheduleAttr::get(context, toElements(schedule)) << "` |\n";
  }
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

namespace {

struct ChooseSchedulePass : mlir::moe::impl::MoeChooseScheduleBase<ChooseSchedulePass> {
  using MoeChooseScheduleBase::MoeChooseScheduleBase;

  void runOnOperation() override {
    MLIRContext *context = &getContext();
    auto emitOptionError = [&](StringRef option, int64_t value, StringRef expected) {
      emitError(getOperation()->getLoc()) << getArgument() << ": expected " << option
                                          << " to be " << expected << ", found " << value;
      signalPassFailure();
    };
    if (numCTAs < 1 || numCTAs > 65535)
      return emitOptionError("num-ctas", numCTAs, "from 1 to 65535");
    if (threadsPerCTA != 0 && (threadsPerCTA < 32 || threadsPerCTA > 1024 ||
                               !llvm::isPowerOf2_64(threadsPerCTA)))
      return emitOptionError("threads-per-cta", threadsPerCTA,
                             "a power of two from 32 to 1024");
    if (accessBytes != 0 && accessBytes != 16 && accessBytes != 32)
      return emitOptionError("access-bytes", accessBytes, "16 or 32");
    ScheduleTarget target;
    target.numCTAs = numCTAs;
    target.threadsPerCTA = threadsPerCTA;
    target.accessBytes = accessBytes;
    if (!chip.empty()) {
      FailureOr<Chip> found = parseChip(chip, [&] {
        return emitError(getOperation()->getLoc()) << getArgument() << ": ";
      });
      if (failed(found))
        return signalPassFailure();
      target.capability = found->capability;
    }
    if (printTable)
      ::printTable(context, llvm::errs());

    auto choose = [&](auto op) {
      if (op->hasAttr(kScheduleAttrName))
        return;
      SmallVector<Attribute> schedules;
      for (const Schedule &schedule : chooseSchedules(op, target))
        schedules.push_back(ScheduleAttr::get(context, schedule));
      op->setAttr(kScheduleAttrName, ArrayAttr::get(context, schedules));
    };
    getOperation()->walk([&](PaddingAwareOpInterface op) { choose(op); });
    getOperation()->walk([&](PermutationOpInterface op) { choose(op); });
  }
};

} // namespace
