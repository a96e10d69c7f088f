//===- MoeToGPU.cpp - The GPU path ----------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The host side of the GPU path: which kernels an op needs, the grid, and the launch.
// What a kernel does is built by MoeToWarp and lowered by WarpToGPU.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "../Launch/GridRule.h"
#include "DescribeKernel.h"
#include "IndexArithmetic.h"
#include "IndexOps.h"
#include "WarpLowerings.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"
#include "moe/IR/Moe.h"
#include "moe/Transforms/Passes.h"
#include "moe/Warp/IR/Warp.h"
#include "moe/Warp/Passes.h"

namespace mlir::moe {
#define GEN_PASS_DEF_CONVERTMOETOGPU
#include "moe/Conversion/Passes.h.inc"
#define GEN_PASS_DEF_CONVERTMOETOWARP
#include "moe/Warp/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

static constexpr llvm::StringLiteral kKernelModuleName = "moe_kernels";

static_assert(warp::kRowsPerQuad == ::moe::launch::kRowsPerQuad);

//===----------------------------------------------------------------------===//
// Kernels and launches
//===----------------------------------------------------------------------===//

namespace {

/// Lowers the ops of one module.
class Lowering {
public:
  Lowering(KernelModule &module) : module(module) {}

  LogicalResult lower(MapRowsOp op);

private:
  /// Null after an error. `isFirst`: of the schedules that the op may be launched with.
  gpu::GPUFuncOp getKernel(MapRowsOp op, const Schedule &schedule, bool isFirst);
  LogicalResult buildLaunch(ImplicitLocOpBuilder &b, MapRowsOp op,
                            const Schedule &schedule, bool isFirst);

  std::string getBaseName(MapRowsOp op) const;

  KernelModule &module;
  // What a kernel depends on, to kernels that exist.
  struct KernelKey {
    MapRowsOp op;
    Schedule schedule;
    gpu::GPUFuncOp kernel;
    std::string baseName;
  };
  SmallVector<KernelKey> kernels;
};

} // namespace

gpu::GPUModuleOp KernelModule::get() {
  if (kernelModule)
    return kernelModule;
  module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                  UnitAttr::get(module.getContext()));
  OpBuilder builder(module.getContext());
  kernelModule = gpu::GPUModuleOp::create(builder, module.getLoc(), kKernelModuleName);
  SymbolTable(module).insert(kernelModule);
  return kernelModule;
}

void KernelModule::finish() {
  if (kernelModule)
    listDescribedKernels(kernelModule);
}

/// Whether the ops compute the same, though perhaps of operands of different types.
static bool computeSame(MapRowsOp lhs, MapRowsOp rhs) {
  return lhs->getPropertiesAsAttribute() == rhs->getPropertiesAsAttribute() &&
         OperationEquivalence::isRegionEquivalentTo(
             &lhs.getActivation(), &rhs.getActivation(),
             OperationEquivalence::IgnoreLocations);
}

/// What the names of the kernels for `op` begin with, and of no op that computes
/// something else: by this name they are found in an image.
std::string Lowering::getBaseName(MapRowsOp op) const {
  std::string name = op.getKernelBaseName() + op.getFormat().getKernelSuffix();
  auto isTaken = [&](StringRef name) {
    return llvm::any_of(kernels, [&](const KernelKey &key) {
      return key.baseName == name && !computeSame(key.op, op);
    });
  };
  std::string numbered = name;
  for (int number = 0; isTaken(numbered); ++number)
    numbered = name + "_" + std::to_string(number);
  return numbered;
}

gpu::GPUFuncOp Lowering::getKernel(MapRowsOp op, const Schedule &schedule, bool isFirst) {
  // The same kernel is launched with any number of CTAs.
  Schedule ofKernel = schedule;
  ofKernel.numCTAs = Schedule().numCTAs;
  for (KernelKey &key : kernels)
    if (key.schedule == ofKernel && key.op->getOperandTypes() == op->getOperandTypes() &&
        computeSame(key.op, op))
      return key.kernel;

  // A stable name, so that who launches a kernel without this host code can find it.
  std::string baseName = getBaseName(op), name = baseName;
  if (schedule.isElementwise())
    name += "_unaligned";
  else if (!isFirst)
    name += "_aligned" + std::to_string(schedule.alignment);
  ImplicitLocOpBuilder b(op.getLoc(), op.getContext());
  auto kernel = gpu::GPUFuncOp::create(
      b, name, b.getFunctionType(op->getOperandTypes(), TypeRange()));
  kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  kernel.setKnownBlockSize(
      ArrayRef<int32_t>{static_cast<int32_t>(schedule.threads), 1, 1});
  // Holds ptxas to the registers that let these CTAs be on an SM together.
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                  b.getI32IntegerAttr(schedule.minCTAs));
  SymbolTable(module.get()).insert(kernel);
  if (failed(attachDescription(kernel, op, describeKernel(op, schedule), baseName)))
    return nullptr;
  b.setInsertionPointToStart(&kernel.getBody().front());
  kernel->setAttr(warp::kKernelScheduleAttrName,
                  ScheduleAttr::get(b.getContext(), ofKernel));
  buildWarpKernel(b, op, kernel.getArguments(), schedule);
  gpu::ReturnOp::create(b);
  kernels.push_back({op, ofKernel, kernel, std::move(baseName)});
  return kernel;
}

/// Says what was chosen for an op and one of its kernels, under --remarks-filter.
static void emitScheduleRemark(MapRowsOp op, gpu::GPUFuncOp kernel,
                               const Schedule &schedule) {
  auto options = remark::RemarkOpts::name("Schedule")
                     .category("moe-schedule")
                     .function(kernel.getName());
  auto remark = schedule.isElementwise() ? remark::missed(op.getLoc(), options)
                                         : remark::passed(op.getLoc(), options);
  std::string text;
  llvm::raw_string_ostream os(text);
  os << schedule.threads << " threads a CTA; a warp takes " << schedule.chunkColumns()
     << " columns of a row, " << schedule.steps
     << (schedule.steps == 1 ? " access of " : " accesses of ") << schedule.accessBytes
     << " bytes a lane; rows "
     << (schedule.hasQuads() ? "by quads that share 16 bytes of scales if there are "
                               "enough for all warps, else one by one"
                             : "one by one");
  if (schedule.earlyBytes != 0)
    os << "; a row for a warp and " << schedule.earlyBytes / 1024
       << " KiB of them at most are loaded before it is known which are live";
  if (schedule.hasEarlyChunks())
    os << ", " << schedule.earlyChunkColumns() << " columns a warp";
  if (schedule.isElementwise())
    os << "; for rows that may start anywhere";
  remark << text;
}

LogicalResult Lowering::buildLaunch(ImplicitLocOpBuilder &b, MapRowsOp op,
                                    const Schedule &schedule, bool isFirst) {
  gpu::GPUFuncOp kernel = getKernel(op, schedule, isFirst);
  if (!kernel)
    return failure();
  emitScheduleRemark(op, kernel, schedule);
  Value rows = b.createOrFold<memref::DimOp>(op.getRowsOperand(), int64_t(0));
  Value columns = b.createOrFold<memref::DimOp>(op.getColumnsOperand(), int64_t(1));
  IndexOps arithmetic(b);
  ::moe::launch::KernelDescription description = describeKernel(op, schedule);
  ::moe::launch::GridInput<IndexOps> input = {rows,
                                              columns,
                                              buildIndex(b, schedule.numCTAs),
                                              schedule.threads,
                                              description.chunkColumns,
                                              schedule.hasQuads(),
                                              description.earlyChunkColumns,
                                              int64_t(description.earlyElements)};
  std::optional<Value> expected;
  if (auto rowCount = op->getAttrOfType<IntegerAttr>(kExpectedRowsAttrName))
    expected = buildIndex(b, rowCount.getInt());
  auto grid = ::moe::launch::getLaunchGrid(arithmetic, input, expected);
  Value one = buildIndex(b, 1);
  gpu::LaunchFuncOp::create(b, kernel, gpu::KernelDim3{grid.x, grid.y, one},
                            gpu::KernelDim3{buildIndex(b, schedule.threads), one, one},
                            /*dynamicSharedMemorySize=*/Value(), op->getOperands());
  return success();
}

LogicalResult mlir::moe::buildFirstLaunch(
    ImplicitLocOpBuilder &b, Operation *op, ArrayRef<Schedule> schedules,
    function_ref<::moe::launch::KernelDescription(const Schedule &)> describe,
    function_ref<LogicalResult(const Schedule &, bool)> buildLaunch) {
  bool isFirst = true;
  for (const Schedule &schedule : schedules) {
    bool hasOther = &schedule != &schedules.back();
    Value isSuitable = buildIsSuitable(b, op, describe(schedule), hasOther);
    if (std::optional<int64_t> known = getConstantIntValue(isSuitable)) {
      if (!*known)
        continue;
      return buildLaunch(schedule, isFirst);
    }
    auto ifOp = scf::IfOp::create(b, isSuitable, /*withElseRegion=*/true);
    b.setInsertionPointToStart(ifOp.thenBlock());
    if (failed(buildLaunch(schedule, isFirst)))
      return failure();
    b.setInsertionPointToStart(ifOp.elseBlock());
    isFirst = false;
  }
  return emitError(op->getLoc())
         << "expected a schedule that needs no alignment as the last in '"
         << kScheduleAttrName << "', or operands that are known to suit one";
}

/// Whether `op`, on memrefs, is where and on what it can be launched from.
static LogicalResult verifyLaunchable(Operation *op, ModuleOp module) {
  if (op->getParentOfType<gpu::GPUModuleOp>())
    return op->emitOpError("expected host code around it, found a gpu.module");
  if (op->getParentOfType<gpu::LaunchOp>())
    return op->emitOpError("expected host code around it, found a gpu.launch");
  if (op->getParentOfType<ModuleOp>() != module)
    return op->emitOpError("expected the module that is lowered directly around it, "
                           "found one nested in it: lower that module");
  for (auto [name, type] :
       llvm::zip_equal(mlir::moe::detail::getOperandNames(op), op->getOperandTypes())) {
    auto memref = dyn_cast<MemRefType>(type);
    Attribute space = memref ? memref.getMemorySpace() : Attribute();
    if (space && space != IntegerAttr::get(IntegerType::get(op->getContext(), 64), 1))
      return op->emitOpError("expected '")
             << name << "' in memory space 0 or 1 for a GPU, found " << type;
  }
  return success();
}

LogicalResult Lowering::lower(MapRowsOp op) {
  SmallVector<Schedule> schedules;
  if (auto attribute = op->getAttrOfType<ArrayAttr>(kScheduleAttrName))
    for (auto schedule : attribute.getAsRange<ScheduleAttr>())
      schedules.push_back(schedule.getValue());
  else
    schedules = chooseSchedules(op, ScheduleTarget());
  ImplicitLocOpBuilder b(op.getLoc(), op);
  return buildFirstLaunch(
      b, op, schedules,
      [&](const Schedule &schedule) { return describeKernel(op, schedule); },
      [&](const Schedule &schedule, bool isFirst) {
        return buildLaunch(b, op, schedule, isFirst);
      });
}

LogicalResult mlir::moe::lowerMoeOpsToWarp(ModuleOp module, StringRef passName) {
  // Those on tensors are reported with all the others, once.
  SmallVector<PaddingAwareOpInterface> padded;
  module.walk([&](PaddingAwareOpInterface op) {
    if (cast<DestinationStyleOpInterface>(op.getOperation()).hasPureBufferSemantics())
      padded.push_back(op);
  });
  SmallVector<PermutationOpInterface> permutations;
  module.walk([&](PermutationOpInterface op) {
    if (cast<DestinationStyleOpInterface>(op.getOperation()).hasPureBufferSemantics())
      permutations.push_back(op);
  });
  KernelModule kernels(module);
  for (PermutationOpInterface op : permutations)
    if (failed(verifyLaunchable(op, module)))
      return failure();
  IRRewriter rewriter(module.getContext());
  SmallVector<MapRowsOp> ops;
  for (PaddingAwareOpInterface op : padded) {
    if (failed(verifyLaunchable(op, module)))
      return failure();
    ops.push_back(generalize(rewriter, op));
  }
  Lowering lowering(kernels);
  for (MapRowsOp op : ops)
    if (failed(lowering.lower(op)))
      return failure();
  if (failed(lowerPermutationOps(permutations, kernels)))
    return failure();
  kernels.finish();
  // Until now they tell kernels apart.
  for (MapRowsOp op : ops)
    op.erase();
  return verifyNoMoeOpsLeft(module, passName);
}

namespace {

struct ConvertMoeToWarpPass
    : mlir::moe::impl::ConvertMoeToWarpBase<ConvertMoeToWarpPass> {
  void runOnOperation() override {
    if (failed(lowerMoeOpsToWarp(getOperation(), getArgument())))
      signalPassFailure();
  }
};

struct ConvertMoeToGPUPass : mlir::moe::impl::ConvertMoeToGPUBase<ConvertMoeToGPUPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(lowerMoeOpsToWarp(module, getArgument())) ||
        failed(scheduleRowsIn(module)) || failed(lowerWarpOpsIn(module)))
      signalPassFailure();
  }
};

} // namespace
