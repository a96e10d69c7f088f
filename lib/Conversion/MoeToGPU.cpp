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
#include "llvm/Support/MathExtras.h"

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

/// The alignments without which the fast kernel would fault.
static SmallVector<AlignmentNeed> getAlignmentNeeds(MapRowsOp op,
                                                    const Schedule &schedule) {
  SmallVector<AlignmentNeed> needs = {{op.getX(), schedule.accessBytes()}};
  if (auto format = dyn_cast<BlockFormatAttrInterface>(op.getFormat())) {
    needs.push_back({op.getOuts()[0], schedule.dataStoreBytes()});
    if (format.getScaleLayout() == ScaleLayout::Swizzle32_4_4)
      needs.push_back({op.getOuts()[1], format.getDeadScales() == DeadScales::Zero
                                            ? Schedule::kZeroStoreBytes
                                            : kScaleTileColumns});
  } else {
    needs.push_back({op.getOuts()[0], schedule.accessBytes()});
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
  Lowering(ModuleOp module, int64_t numCTAs, const ScheduleOptions &options)
      : module(module), numCTAs(numCTAs), options(options) {}

  void lower(MapRowsOp op);

private:
  gpu::GPUModuleOp getKernelModule();
  gpu::GPUFuncOp getKernel(MapRowsOp op, const Schedule &schedule);
  void buildLaunch(ImplicitLocOpBuilder &b, MapRowsOp op,
                   const Schedule &schedule);

  ModuleOp module;
  int64_t numCTAs;
  ScheduleOptions options;
  gpu::GPUModuleOp kernelModule;
  // What a kernel depends on, to kernels that exist.
  struct KernelKey {
    MapRowsOp op;
    bool isAligned;
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
  for (KernelKey &key : kernels)
    if (key.isAligned == schedule.isAligned && haveSameKernel(key.op, op))
      return key.kernel;

  // A stable name, so that who launches a kernel without this host code can find it.
  std::string name = op.getKernelBaseName().str() + op.getFormat().getKernelSuffix();
  if (!schedule.isAligned)
    name += "_unaligned";
  ImplicitLocOpBuilder b(op.getLoc(), op.getContext());
  auto kernel =
      gpu::GPUFuncOp::create(b, name, b.getFunctionType(op->getOperandTypes(), TypeRange()));
  kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  kernel.setKnownBlockSize(
      ArrayRef<int32_t>{static_cast<int32_t>(schedule.threadsPerCTA), 1, 1});
  // Holds ptxas to the registers that let these CTAs be on an SM together.
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                  b.getI32IntegerAttr(schedule.minCTAsPerSM()));
  SymbolTable(getKernelModule()).insert(kernel);
  b.setInsertionPointToStart(&kernel.getBody().front());
  buildKernelBody(b, op, kernel.getArguments(), schedule);
  gpu::ReturnOp::create(b);
  kernels.push_back({op, schedule.isAligned, kernel});
  return kernel;
}

/// Says what was chosen for an op and one of its kernels, under --remarks-filter.
static void emitScheduleRemark(MapRowsOp op, gpu::GPUFuncOp kernel,
                               const Schedule &schedule) {
  auto options = remark::RemarkOpts::name("Schedule")
                     .category("moe-schedule")
                     .function(kernel.getName());
  auto remark = schedule.isAligned ? remark::passed(op.getLoc(), options)
                                   : remark::missed(op.getLoc(), options);
  std::string text;
  llvm::raw_string_ostream os(text);
  os << schedule.threadsPerCTA << " threads a CTA; a warp takes "
     << schedule.chunkColumns() << " columns of a row, " << schedule.stepsPerChunk
     << (schedule.stepsPerChunk == 1 ? " access of " : " accesses of ")
     << schedule.accessBytes() << " bytes a lane; rows "
     << (hasQuads(op, schedule) ? "by quads that share 16 bytes of scales if there are "
                                  "enough for all warps, else one by one"
                                : "one by one");
  if (loadsEarly(op, schedule))
    os << "; a row for a warp and " << Schedule::kEarlyBytes / 1024
       << " KiB of them at most are loaded before it is known which are live";
  if (!schedule.isAligned)
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
      arithmetic, {rows, columns, buildIndex(b, numCTAs), schedule.threadsPerCTA,
                   schedule.chunkColumns(), hasQuads(op, schedule)});
  Value one = buildIndex(b, 1);
  gpu::LaunchFuncOp::create(
      b, kernel, gpu::KernelDim3{grid.x, grid.y, one},
      gpu::KernelDim3{buildIndex(b, schedule.threadsPerCTA), one, one},
      /*dynamicSharedMemorySize=*/Value(), op->getOperands());
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

void Lowering::lower(MapRowsOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Schedule fast = getSchedule(/*isAligned=*/true, options);
  Schedule slow = getSchedule(/*isAligned=*/false, options);
  Value columns = b.createOrFold<memref::DimOp>(op.getX(), int64_t(1));
  Value wholeVectors = b.createOrFold<arith::CmpIOp>(
      arith::CmpIPredicate::eq, buildRem(b, columns, fast.elementsPerLane),
      buildIndex(b, 0));
  Value isAligned = b.createOrFold<arith::AndIOp>(
      wholeVectors, buildIsAligned(b, getAlignmentNeeds(op, fast)));

  if (std::optional<int64_t> known = getConstantIntValue(isAligned)) {
    buildLaunch(b, op, *known ? fast : slow);
  } else {
    auto ifOp = scf::IfOp::create(b, isAligned, /*withElseRegion=*/true);
    b.setInsertionPointToStart(ifOp.thenBlock());
    buildLaunch(b, op, fast);
    b.setInsertionPointToStart(ifOp.elseBlock());
    buildLaunch(b, op, slow);
  }
}

namespace {

struct ConvertMoeToGPUPass : mlir::moe::impl::ConvertMoeToGPUBase<ConvertMoeToGPUPass> {
  using ConvertMoeToGPUBase::ConvertMoeToGPUBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto emitOptionError = [&](StringRef option, int64_t value, StringRef expected) {
      emitError(module.getLoc()) << getArgument() << ": expected " << option << " to be "
                                 << expected << ", found " << value;
      signalPassFailure();
    };
    if (numCTAs < 1 || numCTAs > ::moe::launch::kMaxCTAs)
      return emitOptionError("num-ctas", numCTAs, "from 1 to 65535");
    if (threadsPerCTA < 32 || threadsPerCTA > 1024 || !llvm::isPowerOf2_64(threadsPerCTA))
      return emitOptionError("threads-per-cta", threadsPerCTA,
                             "a power of two from 32 to 1024");
    if (accessBytes != 16 && accessBytes != 32)
      return emitOptionError("access-bytes", accessBytes, "16 or 32");

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
    Lowering lowering(module, numCTAs,
                      ScheduleOptions{threadsPerCTA, accessBytes, waitForPredecessor});
    for (MapRowsOp op : ops)
      lowering.lower(op);
    // Until now they tell kernels apart.
    for (MapRowsOp op : ops)
      op.erase();
    if (failed(verifyNoMoeOpsLeft(module, getArgument())))
      signalPassFailure();
  }
};

} // namespace
