//===- MoeToGPU.cpp - The GPU path ----------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The host side of convert-moe-to-gpu: which kernels an op needs, the grid, and the
// launch. What a kernel does is in KernelBody.cpp and KernelQuantization.cpp.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "../Launch/GridRule.h"
#include "IndexArithmetic.h"
#include "KernelBody.h"
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

namespace mlir::moe {
#define GEN_PASS_DEF_CONVERTMOETOGPU
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

static constexpr llvm::StringLiteral kKernelModuleName = "moe_kernels";
//===----------------------------------------------------------------------===//
// Alignment
//===----------------------------------------------------------------------===//

namespace {

/// An access width that a kernel needs of a buffer's base address and row stride.
struct AlignmentNeed {
  Value buffer;
  int64_t bytes;
};

} // namespace

/// The alignments without which a kernel of `schedule` would fault.
static SmallVector<AlignmentNeed> getAlignmentNeeds(MapRowsOp op,
                                                    const Schedule &schedule) {
  SmallVector<AlignmentNeed> needs = {{op.getX(), schedule.alignment}};
  Value out = op.getOuts()[0];
  int64_t elementBytes = cast<ShapedType>(out.getType()).getElementTypeBitWidth() / 8;
  needs.push_back({out, schedule.alignmentOf(schedule.elements() * elementBytes)});
  if (schedule.hasQuads()) {
    auto format = cast<BlockFormatAttrInterface>(op.getFormat());
    needs.push_back({op.getOuts()[1], format.getDeadScales() == DeadScales::Zero
                                          ? schedule.clearBytes
                                          : kScaleTileColumns});
  }
  return needs;
}

/// Whether the base address of `buffer` is known to be a multiple of `bytes`.
static bool isBaseKnownAligned(Value buffer, int64_t bytes) {
  auto type = cast<MemRefType>(buffer.getType());
  auto [strides, offset] = type.getStridesAndOffset();
  if (offset != 0)
    return false;
  if (auto assume = buffer.getDefiningOp<memref::AssumeAlignmentOp>())
    return assume.getAlignment() % bytes == 0;
  if (auto alloc = buffer.getDefiningOp<memref::AllocOp>())
    return alloc.getAlignment().value_or(1) % bytes == 0;
  return false;
}

/// An i1 that is true if the rows of all `needs` start at suitably aligned addresses.
/// Constant if that is known now.
static Value buildIsAligned(ImplicitLocOpBuilder &b, ArrayRef<AlignmentNeed> needs) {
  // The low bits of every address and stride, or'ed together: 0 if all are multiples.
  Value misalignment = buildIndex(b, 0);
  bool isKnownMisaligned = false;
  auto require = [&](Value bytesValue, int64_t bytes) {
    Value low = buildRem(b, bytesValue, bytes);
    isKnownMisaligned |= getConstantIntValue(low).value_or(0) != 0;
    misalignment = b.createOrFold<arith::OrIOp>(misalignment, low);
  };
  for (auto [buffer, bytes] : needs) {
    auto type = cast<MemRefType>(buffer.getType());
    int64_t elementBytes = type.getElementTypeBitWidth() / 8;
    auto [strides, offset] = type.getStridesAndOffset();
    memref::ExtractStridedMetadataOp metadata;
    auto getMetadata = [&] {
      if (!metadata)
        metadata = memref::ExtractStridedMetadataOp::create(b, buffer);
      return metadata;
    };
    if (!isBaseKnownAligned(buffer, bytes)) {
      Value base = memref::ExtractAlignedPointerAsIndexOp::create(b, buffer);
      Value offsetValue = offset == 0                     ? buildIndex(b, 0)
                          : ShapedType::isDynamic(offset) ? getMetadata().getOffset()
                                                          : buildIndex(b, offset);
      require(buildAdd(b, base, buildMul(b, offsetValue, elementBytes)), bytes);
    }
    if (type.getRank() < 2)
      continue;
    Value rowStride = ShapedType::isDynamic(strides.front())
                          ? getMetadata().getStrides().front()
                          : buildIndex(b, strides.front());
    require(buildMul(b, rowStride, elementBytes), bytes);
  }
  if (isKnownMisaligned)
    return arith::ConstantIntOp::create(b, 0, /*width=*/1);
  return b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::eq, misalignment,
                                       buildIndex(b, 0));
}

//===----------------------------------------------------------------------===//
// Kernels and launches
//===----------------------------------------------------------------------===//

namespace {

/// The arithmetic of the grid rule, as host code on indices.
class IndexOps {
public:
  using Value = mlir::Value;
  explicit IndexOps(ImplicitLocOpBuilder &b) : b(b) {}

  Value constant(int64_t value) { return buildIndex(b, value); }
  Value add(Value lhs, Value rhs) { return b.createOrFold<arith::AddIOp>(lhs, rhs); }
  Value sub(Value lhs, Value rhs) { return b.createOrFold<arith::SubIOp>(lhs, rhs); }
  Value mul(Value lhs, Value rhs) { return b.createOrFold<arith::MulIOp>(lhs, rhs); }
  Value div(Value lhs, Value rhs) { return b.createOrFold<arith::DivUIOp>(lhs, rhs); }
  Value ceilDiv(Value lhs, Value rhs) {
    return b.createOrFold<arith::CeilDivUIOp>(lhs, rhs);
  }
  Value ceilDivByPowerOfTwo(Value lhs, int64_t rhs) { return buildCeilDiv(b, lhs, rhs); }
  Value remainder(Value lhs, int64_t powerOfTwo) { return buildRem(b, lhs, powerOfTwo); }
  Value shiftRight(Value lhs, Value rhs) {
    return b.createOrFold<arith::ShRUIOp>(lhs, rhs);
  }
  Value bitOr(Value lhs, Value rhs) { return b.createOrFold<arith::OrIOp>(lhs, rhs); }
  Value min(Value lhs, Value rhs) { return b.createOrFold<arith::MinUIOp>(lhs, rhs); }
  Value max(Value lhs, Value rhs) { return b.createOrFold<arith::MaxUIOp>(lhs, rhs); }
  Value isLess(Value lhs, Value rhs) {
    return b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::ult, lhs, rhs);
  }
  Value select(Value condition, Value then, Value otherwise) {
    return b.createOrFold<arith::SelectOp>(condition, then, otherwise);
  }

private:
  ImplicitLocOpBuilder &b;
};

/// Lowers the ops of one module.
class Lowering {
public:
  Lowering(ModuleOp module) : module(module) {}

  LogicalResult lower(MapRowsOp op);

private:
  gpu::GPUModuleOp getKernelModule();
  gpu::GPUFuncOp getKernel(MapRowsOp op, const Schedule &schedule);
  LogicalResult buildFirstLaunch(ImplicitLocOpBuilder &b, MapRowsOp op,
                                 ArrayRef<Schedule> schedules);
  void buildLaunch(ImplicitLocOpBuilder &b, MapRowsOp op, const Schedule &schedule);

  ModuleOp module;
  gpu::GPUModuleOp kernelModule;
  // What a kernel depends on, to kernels that exist.
  struct KernelKey {
    MapRowsOp op;
    Schedule schedule;
    gpu::GPUFuncOp kernel;
  };
  SmallVector<KernelKey> kernels;
};

} // namespace

gpu::GPUModuleOp Lowering::getKernelModule() {
  if (kernelModule)
    return kernelModule;
  module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                  UnitAttr::get(module.getContext()));
  OpBuilder builder(module.getContext());
  kernelModule = gpu::GPUModuleOp::create(builder, module.getLoc(), kKernelModuleName);
  SymbolTable(module).insert(kernelModule);
  return kernelModule;
}

/// Whether the ops differ in nothing that their kernels depend on.
static bool haveSameKernel(MapRowsOp lhs, MapRowsOp rhs) {
  return lhs->getOperandTypes() == rhs->getOperandTypes() &&
         lhs->getPropertiesAsAttribute() == rhs->getPropertiesAsAttribute() &&
         OperationEquivalence::isRegionEquivalentTo(
             &lhs.getActivation(), &rhs.getActivation(),
             OperationEquivalence::IgnoreLocations);
}

gpu::GPUFuncOp Lowering::getKernel(MapRowsOp op, const Schedule &schedule) {
  // The same kernel is launched with any number of CTAs.
  Schedule ofKernel = schedule;
  ofKernel.numCTAs = Schedule().numCTAs;
  for (KernelKey &key : kernels)
    if (key.schedule == ofKernel && haveSameKernel(key.op, op))
      return key.kernel;

  // A stable name, so that who launches a kernel without this host code can find it.
  std::string name = op.getKernelBaseName().str() + op.getFormat().getKernelSuffix();
  if (schedule.isElementwise())
    name += "_unaligned";
  ImplicitLocOpBuilder b(op.getLoc(), op.getContext());
  auto kernel = gpu::GPUFuncOp::create(
      b, name, b.getFunctionType(op->getOperandTypes(), TypeRange()));
  kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  kernel.setKnownBlockSize(
      ArrayRef<int32_t>{static_cast<int32_t>(schedule.threads), 1, 1});
  // Holds ptxas to the registers that let these CTAs be on an SM together.
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                  b.getI32IntegerAttr(schedule.minCTAs));
  SymbolTable(getKernelModule()).insert(kernel);
  b.setInsertionPointToStart(&kernel.getBody().front());
  buildKernelBody(b, op, kernel.getArguments(), schedule);
  gpu::ReturnOp::create(b);
  kernels.push_back({op, ofKernel, kernel});
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
  if (schedule.isElementwise())
    os << "; for rows that may start anywhere";
  remark << text;
}

void Lowering::buildLaunch(ImplicitLocOpBuilder &b, MapRowsOp op,
                           const Schedule &schedule) {
  gpu::GPUFuncOp kernel = getKernel(op, schedule);
  emitScheduleRemark(op, kernel, schedule);
  Value rows = b.createOrFold<memref::DimOp>(op.getX(), int64_t(0));
  Value columns = b.createOrFold<memref::DimOp>(op.getX(), int64_t(1));
  IndexOps arithmetic(b);
  auto grid = ::moe::launch::getGrid(
      arithmetic, {rows, columns, buildIndex(b, schedule.numCTAs), schedule.threads,
                   schedule.chunkColumns(), schedule.hasQuads()});
  Value one = buildIndex(b, 1);
  gpu::LaunchFuncOp::create(b, kernel, gpu::KernelDim3{grid.x, grid.y, one},
                            gpu::KernelDim3{buildIndex(b, schedule.threads), one, one},
                            /*dynamicSharedMemorySize=*/Value(), op->getOperands());
}

/// Of `schedules` the first whose needs hold: a launch if that is known now, else
/// launches under conditions.
LogicalResult Lowering::buildFirstLaunch(ImplicitLocOpBuilder &b, MapRowsOp op,
                                         ArrayRef<Schedule> schedules) {
  if (schedules.empty())
    return emitError(op.getLoc())
           << "expected a schedule that needs no alignment as the last in '"
           << kScheduleAttrName << "', or operands that are known to suit one";
  Schedule schedule = schedules.front();
  if (schedule.isElementwise()) {
    buildLaunch(b, op, schedule);
    return success();
  }
  Value columns = b.createOrFold<memref::DimOp>(op.getX(), int64_t(1));
  Value wholeVectors = b.createOrFold<arith::CmpIOp>(
      arith::CmpIPredicate::eq, buildRem(b, columns, schedule.elements()),
      buildIndex(b, 0));
  Value isSuitable = b.createOrFold<arith::AndIOp>(
      wholeVectors, buildIsAligned(b, getAlignmentNeeds(op, schedule)));
  if (std::optional<int64_t> known = getConstantIntValue(isSuitable)) {
    if (!*known)
      return buildFirstLaunch(b, op, schedules.drop_front());
    buildLaunch(b, op, schedule);
    return success();
  }
  auto ifOp = scf::IfOp::create(b, isSuitable, /*withElseRegion=*/true);
  b.setInsertionPointToStart(ifOp.thenBlock());
  buildLaunch(b, op, schedule);
  b.setInsertionPointToStart(ifOp.elseBlock());
  return buildFirstLaunch(b, op, schedules.drop_front());
}

/// Whether `op`, on memrefs, is where and on what it can be launched from.
static LogicalResult verifyLaunchable(PaddingAwareOpInterface op, ModuleOp module) {
  if (op->getParentOfType<gpu::GPUModuleOp>())
    return op.emitOpError("expected host code around it, found a gpu.module");
  if (op->getParentOfType<gpu::LaunchOp>())
    return op.emitOpError("expected host code around it, found a gpu.launch");
  if (op->getParentOfType<ModuleOp>() != module)
    return op.emitOpError("expected the module that is lowered directly around it, found "
                          "one nested in it: lower that module");
  for (auto [name, type] : llvm::zip_equal(op.getOperandNames(), op->getOperandTypes())) {
    Attribute space = cast<MemRefType>(type).getMemorySpace();
    if (space && space != IntegerAttr::get(IntegerType::get(op.getContext(), 64), 1))
      return op.emitOpError("expected '")
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
  return buildFirstLaunch(b, op, schedules);
}

namespace {

struct ConvertMoeToGPUPass : mlir::moe::impl::ConvertMoeToGPUBase<ConvertMoeToGPUPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    // Those on tensors are reported with all the others, once.
    SmallVector<PaddingAwareOpInterface> padded;
    module.walk([&](PaddingAwareOpInterface op) {
      if (cast<DestinationStyleOpInterface>(op.getOperation()).hasPureBufferSemantics())
        padded.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    SmallVector<MapRowsOp> ops;
    for (PaddingAwareOpInterface op : padded) {
      if (failed(verifyLaunchable(op, module)))
        return signalPassFailure();
      ops.push_back(generalize(rewriter, op));
    }
    Lowering lowering(module);
    for (MapRowsOp op : ops)
      if (failed(lowering.lower(op)))
        return signalPassFailure();
    // Until now they tell kernels apart.
    for (MapRowsOp op : ops)
      op.erase();
    if (failed(verifyNoMoeOpsLeft(module, getArgument())))
      signalPassFailure();
  }
};

} // namespace
