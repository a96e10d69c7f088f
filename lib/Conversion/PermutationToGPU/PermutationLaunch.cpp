//===- PermutationLaunch.cpp - Launches of tokens and rows ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The host side of moe.route_tokens and moe.unpermute_tokens: their kernels, descriptions
// and grids. And what the bodies of their kernels are built of.
//
//===----------------------------------------------------------------------===//

#include "PermutationKernels.h"

#include "../../Launch/GridRule.h"
#include "../../Launch/KernelName.h"
#include "../DescribeKernel.h"
#include "../IndexOps.h"
#include "../WarpLowerings.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/SymbolTable.h"
#include "moe/Transforms/Passes.h"
#include "moe/Warp/IR/Warp.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;
using ::moe::launch::KernelDescription;
using ::moe::launch::Work;

//===----------------------------------------------------------------------===//
// Kernels and launches
//===----------------------------------------------------------------------===//

static std::string getBaseName(PermutationOpInterface op) {
  std::string name = op->getName().stripDialect().str();
  bool hasProbs = false;
  if (auto route = dyn_cast<RouteTokensOp>(op.getOperation())) {
    if (route.getRoutingMap().getType().getElementType().isInteger(64))
      name += "_i64";
    hasProbs = bool(route.getProbs());
  } else {
    hasProbs = bool(cast<UnpermuteTokensOp>(op.getOperation()).getProbs());
  }
  return hasProbs ? name + "_probs" : name;
}

static bool isRoute(PermutationOpInterface op) {
  return isa<RouteTokensOp>(op.getOperation());
}

/// Whether the schedule is for many tokens: what a lane adds up are two accesses.
static bool isWide(PermutationOpInterface op, const Schedule &schedule) {
  constexpr int64_t kNarrowBytes = 8;
  return !isRoute(op) && schedule.accessBytes > kNarrowBytes;
}

/// All but the name.
static KernelDescription describe(PermutationOpInterface op, const Schedule &schedule) {
  KernelDescription description = {};
  description.work = schedule.hasClusters() ? Work::ExpertWindows
                     : isRoute(op)          ? Work::Experts
                                            : Work::Tokens;
  if (schedule.hasClusters()) {
    description.clusterCTAs = schedule.cluster;
    description.leastUnits = ::moe::launch::kLeastPairsOfClusters;
  }
  if (isWide(op, schedule))
    description.leastUnits = ::moe::launch::kLeastElementsOfWide;
  description.rowsPerUnit = 1;
  description.chunkColumns = isRoute(op) ? 1 : schedule.chunkColumns();
  description.threadsPerCTA = schedule.threads;
  description.minCTAsPerSM = schedule.minCTAs;
  description.waitsForPredecessor = schedule.waits;
  description.pairBlock = ::moe::launch::kNoPairs;
  SmallVector<StringRef> names = op.getOperandNames();
  for (auto [name, operand] : llvm::zip_equal(names, op->getOpOperands())) {
    bool isWritten = operand.getOperandNumber() >= op.getNumInputs();
    description.operands[description.numOperands++] = describeOperand(
        name, operand.get().getType(), isWritten, /*isScalar=*/name == "valid_tokens");
  }
  if (isRoute(op) || schedule.isElementwise())
    return description;
  auto &y = description.operands[0];
  y.addressAlignment = y.rowStrideAlignment = schedule.alignment;
  y.rowAlignment = schedule.accessBytes;
  // Twice as wide; an access has 16 bytes at most.
  auto &out = description.operands[description.numOperands - 1];
  out.addressAlignment = out.rowStrideAlignment =
      std::min<int64_t>(2 * schedule.alignment, 16);
  return description;
}

namespace {

/// Lowers the ops of one module.
class PermutationLowering {
public:
  PermutationLowering(KernelModule &module) : module(module) {}

  LogicalResult lower(PermutationOpInterface op) {
    SmallVector<Schedule> schedules;
    if (auto attribute = op->getAttrOfType<ArrayAttr>(kScheduleAttrName))
      for (auto schedule : attribute.getAsRange<ScheduleAttr>())
        schedules.push_back(schedule.getValue());
    else
      schedules = chooseSchedules(op, ScheduleTarget());
    // The first that is for any number of units has the name of the op.
    const Schedule *plain = llvm::find_if(schedules, [&](const Schedule &schedule) {
      return describe(op, schedule).leastUnits == 0;
    });
    plain = plain == schedules.end() ? nullptr : plain;
    ImplicitLocOpBuilder b(op.getLoc(), op);
    return buildFirstLaunch(
        b, op, schedules,
        [&](const Schedule &schedule) { return describe(op, schedule); },
        [&](const Schedule &schedule, bool) {
          return buildLaunch(b, op, schedule, plain && schedule == *plain);
        });
  }

private:
  gpu::GPUFuncOp getKernel(PermutationOpInterface op, const Schedule &schedule,
                           bool isPlain);
  LogicalResult buildLaunch(ImplicitLocOpBuilder &b, PermutationOpInterface op,
                            const Schedule &schedule, bool isPlain);

  KernelModule &module;
  struct KernelKey {
    PermutationOpInterface op;
    Schedule schedule;
    gpu::GPUFuncOp kernel;
  };
  SmallVector<KernelKey> kernels;
};

} // namespace

gpu::GPUFuncOp PermutationLowering::getKernel(PermutationOpInterface op,
                                              const Schedule &schedule, bool isPlain) {
  // The same kernel is launched with any number of CTAs.
  Schedule ofKernel = schedule;
  ofKernel.numCTAs = Schedule().numCTAs;
  for (KernelKey &key : kernels)
    if (key.schedule == ofKernel && key.op->getName() == op->getName() &&
        key.op->getOperandTypes() == op->getOperandTypes() &&
        key.op->getPropertiesAsAttribute() == op->getPropertiesAsAttribute())
      return key.kernel;

  std::string baseName = getBaseName(op), name = baseName;
  if (schedule.hasClusters())
    name += ::moe::launch::kClusterSuffix + std::to_string(schedule.cluster);
  else if (!isRoute(op) && schedule.isElementwise())
    name += "_unaligned";
  else if (isWide(op, schedule) || (!isRoute(op) && !isPlain))
    name += "_aligned" + std::to_string(schedule.alignment);
  ImplicitLocOpBuilder b(op.getLoc(), op.getContext());
  auto kernel = gpu::GPUFuncOp::create(
      b, name, b.getFunctionType(op->getOperandTypes(), TypeRange()));
  kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  kernel.setKnownBlockSize(
      ArrayRef<int32_t>{static_cast<int32_t>(schedule.threads), 1, 1});
  if (schedule.hasClusters())
    kernel.setKnownClusterSize(
        ArrayRef<int32_t>{static_cast<int32_t>(schedule.cluster), 1, 1});
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                  b.getI32IntegerAttr(schedule.minCTAs));
  SymbolTable(module.get()).insert(kernel);
  if (failed(attachDescription(kernel, op, describe(op, schedule), baseName)))
    return nullptr;
  b.setInsertionPointToStart(&kernel.getBody().front());
  auto route = dyn_cast<RouteTokensOp>(op.getOperation());
  if (route && schedule.hasClusters())
    buildRouteClusterKernel(b, route, kernel, schedule);
  else if (route)
    buildRouteKernel(b, route, kernel, schedule);
  else
    buildUnpermuteKernel(b, cast<UnpermuteTokensOp>(op.getOperation()), kernel, schedule);
  gpu::ReturnOp::create(b);
  kernels.push_back({op, ofKernel, kernel});
  return kernel;
}

LogicalResult PermutationLowering::buildLaunch(ImplicitLocOpBuilder &b,
                                               PermutationOpInterface op,
                                               const Schedule &schedule, bool isPlain) {
  gpu::GPUFuncOp kernel = getKernel(op, schedule, isPlain);
  if (!kernel)
    return failure();
  IndexOps arithmetic(b);
  Value one = buildIndex(b, 1), numCTAs = buildIndex(b, schedule.numCTAs);
  Value x, y = one;
  if (auto route = dyn_cast<RouteTokensOp>(op.getOperation())) {
    Value experts = b.createOrFold<memref::DimOp>(route.getTokensPerExpert(), int64_t(0));
    x = schedule.hasClusters()
            ? ::moe::launch::getClusterCTAs(arithmetic, experts, numCTAs,
                                            schedule.cluster)
            : ::moe::launch::getExpertCTAs(arithmetic, experts, numCTAs);
  } else {
    Value out = cast<UnpermuteTokensOp>(op.getOperation()).getOut();
    auto grid = ::moe::launch::getTokenGrid(
        arithmetic,
        ::moe::launch::GridInput<IndexOps>{b.createOrFold<memref::DimOp>(out, int64_t(0)),
                                           b.createOrFold<memref::DimOp>(out, int64_t(1)),
                                           numCTAs, schedule.threads,
                                           schedule.chunkColumns(), /*hasQuads=*/false},
        /*limit=*/std::nullopt);
    x = grid.x;
    y = grid.y;
  }
  gpu::LaunchFuncOp::create(b, kernel, gpu::KernelDim3{x, y, one},
                            gpu::KernelDim3{buildIndex(b, schedule.threads), one, one},
                            /*dynamicSharedMemorySize=*/Value(), op->getOperands());
  return success();
}

LogicalResult mlir::moe::lowerPermutationOps(ArrayRef<PermutationOpInterface> ops,
                                             KernelModule &kernels) {
  PermutationLowering lowering(kernels);
  for (PermutationOpInterface op : ops)
    if (failed(lowering.lower(op)))
      return failure();
  // Until now they tell kernels apart.
  for (PermutationOpInterface op : ops)
    op->erase();
  return success();
}

//===----------------------------------------------------------------------===//
// What bodies are built of
//===----------------------------------------------------------------------===//

/// The memory spaces of buffers that are passed, of what the threads of a CTA share, and
/// of what a cluster shares.
static constexpr int64_t kGlobalSpace = 1, kSharedSpace = 3, kClusterSpace = 7;

Value lanes::toGlobal(ImplicitLocOpBuilder &b, Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  if (type.getMemorySpace())
    return buffer;
  auto globalType = MemRefType::get(type.getShape(), type.getElementType(),
                                    type.getLayout(), b.getI64IntegerAttr(1));
  return memref::MemorySpaceCastOp::create(b, globalType, buffer);
}

Value lanes::addSharedBuffer(ImplicitLocOpBuilder &b, gpu::GPUFuncOp kernel, Type element,
                             int64_t size) {
  auto type = MemRefType::get({size}, element, MemRefLayoutAttrInterface(),
                              b.getI64IntegerAttr(kSharedSpace));
  return kernel.addWorkgroupAttribution(type, b.getLoc());
}

/// The address of the i32 that is `at` after a buffer's first one.
static Value buildPointer(ImplicitLocOpBuilder &b, int64_t space, Value buffer,
                          Value at) {
  auto type = LLVM::LLVMPointerType::get(b.getContext(), space);
  Value base = memref::ExtractAlignedPointerAsIndexOp::create(b, buffer);
  Value address = arith::IndexCastOp::create(b, b.getI64Type(), base);
  Value pointer = LLVM::IntToPtrOp::create(b, type, address);
  return LLVM::GEPOp::create(b, type, b.getI32Type(), pointer,
                             ArrayRef<LLVM::GEPArg>{at});
}

/// `memref.atomic_rmw` would order all accesses of the whole system.
static void buildAtomic(ImplicitLocOpBuilder &b, LLVM::AtomicBinOp kind, int64_t space,
                        Value buffer, Value at, Value value) {
  Value pointer = buildPointer(b, space, buffer, at);
  LLVM::AtomicRMWOp::create(b, kind, pointer, value, LLVM::AtomicOrdering::monotonic,
                            /*syncscope=*/"block");
}

void lanes::buildAtomicAdd(ImplicitLocOpBuilder &b, Value buffer, Value at, Value value) {
  buildAtomic(b, LLVM::AtomicBinOp::add, kSharedSpace, buffer, at, value);
}

void lanes::buildAtomicMax(ImplicitLocOpBuilder &b, Value buffer, Value at, Value value) {
  buildAtomic(b, LLVM::AtomicBinOp::max, kSharedSpace, buffer, at, value);
}

void lanes::buildGlobalMax(ImplicitLocOpBuilder &b, Value buffer, ValueRange at,
                           Value value) {
  auto metadata = memref::ExtractStridedMetadataOp::create(b, buffer);
  Value place = metadata.getOffset();
  for (auto [index, stride] : llvm::zip_equal(at, metadata.getStrides()))
    place = buildAdd(b, place, buildMul(b, index, stride));
  buildAtomic(b, LLVM::AtomicBinOp::max, kGlobalSpace, buffer,
              arith::IndexCastOp::create(b, b.getI64Type(), place), value);
}

void lanes::buildBarrier(ImplicitLocOpBuilder &b) { gpu::BarrierOp::create(b); }

Value lanes::buildClusterLoad(ImplicitLocOpBuilder &b, Value buffer, Value at,
                              Value rank) {
  auto type = LLVM::LLVMPointerType::get(b.getContext(), kClusterSpace);
  Value pointer = buildPointer(b, kSharedSpace, buffer, at);
  return LLVM::LoadOp::create(b, b.getI32Type(),
                              NVVM::MapaOp::create(b, type, pointer, rank));
}

void lanes::buildClusterArrive(ImplicitLocOpBuilder &b, bool isRelaxed) {
  if (isRelaxed)
    NVVM::ClusterArriveRelaxedOp::create(b, b.getUnitAttr());
  else
    NVVM::ClusterArriveOp::create(b, b.getUnitAttr());
}

void lanes::buildClusterWait(ImplicitLocOpBuilder &b) {
  NVVM::ClusterWaitOp::create(b, b.getUnitAttr());
}

Value lanes::buildWarpSum(ImplicitLocOpBuilder &b, Value word) {
  return NVVM::ReduxOp::create(b, b.getI32Type(), word, NVVM::ReduxKind::ADD,
                               buildI32(b, -1));
}

Value lanes::buildBitCount(ImplicitLocOpBuilder &b, Value word) {
  return math::CtPopOp::create(b, word);
}

Value lanes::buildMatch(ImplicitLocOpBuilder &b, Value word) {
  return NVVM::MatchSyncOp::create(b, b.getI32Type(), buildI32(b, -1), word,
                                   NVVM::MatchSyncKind::any);
}

Value lanes::buildLanesBefore(ImplicitLocOpBuilder &b, Value lane) {
  Value bit = arith::ShLIOp::create(b, buildI32(b, 1), lane);
  return arith::SubIOp::create(b, bit, buildI32(b, 1));
}

Value lanes::buildBelow(ImplicitLocOpBuilder &b, Value lhs, Value rhs) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, lhs, rhs);
}

Value lanes::buildSize(ImplicitLocOpBuilder &b, Value buffer, int64_t dim) {
  Value size = b.createOrFold<memref::DimOp>(buffer, dim);
  Value most = buildIndex(b, std::numeric_limits<int32_t>::max());
  size = b.createOrFold<arith::MinSIOp>(size, most);
  return b.createOrFold<arith::IndexCastUIOp>(b.getI32Type(), size);
}

Value lanes::buildValidTokens(ImplicitLocOpBuilder &b, Value loaded, Value tokens) {
  Value valid = arith::MaxSIOp::create(b, loaded, buildI32(b, 0));
  return arith::MinSIOp::create(b, valid, tokens);
}

std::pair<Value, Value> lanes::buildLocalExpert(ImplicitLocOpBuilder &b, Value entry,
                                                Value firstExpert, Value experts) {
  Type type = entry.getType();
  if (type.isInteger(32)) {
    Value local = arith::SubIOp::create(b, entry, firstExpert);
    Value isPast =
        arith::CmpIOp::create(b, arith::CmpIPredicate::sge, entry, firstExpert);
    return {local, arith::AndIOp::create(b, isPast, buildBelow(b, local, experts))};
  }
  // A difference that has wrapped around is none of an expert.
  Value local =
      arith::SubIOp::create(b, entry, arith::ExtSIOp::create(b, type, firstExpert));
  Value isLocal = buildBelow(b, local, arith::ExtUIOp::create(b, type, experts));
  return {arith::TruncIOp::create(b, b.getI32Type(), local), isLocal};
}

Value lanes::buildAligned(ImplicitLocOpBuilder &b, Value count, Value alignment) {
  Value most = buildAdd(b, alignment, -1);
  Value sum = buildAdd(b, count, most);
  Value zero = buildI32(b, 0);
  Value isPowerOfTwo = arith::CmpIOp::create(
      b, arith::CmpIPredicate::eq, arith::AndIOp::create(b, alignment, most), zero);
  return buildIfElse(
             b, isPowerOfTwo, b.getI32Type(),
             [&] {
               Value mask = arith::SubIOp::create(b, zero, alignment);
               return SmallVector<Value>{arith::AndIOp::create(b, sum, mask)};
             },
             [&] {
               Value units = arith::DivUIOp::create(b, sum, alignment);
               return SmallVector<Value>{buildMul(b, units, alignment)};
             })
      .front();
}

SmallVector<Value>
lanes::buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, Value step,
                 ArrayRef<Value> init,
                 function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto loop = keepRolled(scf::ForOp::create(b, begin, end, step, init));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> results = body(loop.getInductionVar(), loop.getRegionIterArgs());
  if (!init.empty())
    scf::YieldOp::create(b, results);
  return llvm::to_vector_of<Value>(loop.getResults());
}

void lanes::buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, Value step,
                      function_ref<void(Value)> body) {
  buildLoop(b, begin, end, step, {}, [&](Value at, ValueRange) {
    body(at);
    return SmallVector<Value>();
  });
}

SmallVector<Value> lanes::buildIfElse(ImplicitLocOpBuilder &b, Value condition,
                                      TypeRange types,
                                      function_ref<SmallVector<Value>()> then,
                                      function_ref<SmallVector<Value>()> otherwise) {
  auto ifOp = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  SmallVector<Value> results = then();
  scf::YieldOp::create(b, results);
  b.setInsertionPointToStart(ifOp.elseBlock());
  results = otherwise();
  scf::YieldOp::create(b, results);
  return llvm::to_vector_of<Value>(ifOp.getResults());
}
