//===- Moe.h - The moe dialect ----------------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The moe dialect: its ops, attributes and interfaces.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_MOE_H
#define MOE_IR_MOE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypeInterfaces.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "moe/IR/ScaleLayout.h"

namespace mlir::moe {

/// Number of elements of a `swizzle_32_4_4` scale buffer for an [rows, columns] matrix
/// with `groupSize` columns a group.
int64_t getSwizzledScaleSize(int64_t rows, int64_t columns,
                             int64_t groupSize = kGroupSize);

/// Local experts that `moe.route_tokens` counts for at most, and experts of a token: what
/// a kernel has room for in shared memory.
inline constexpr int64_t kMaxExperts = 2048;

class PaddingAwareOpInterface;

/// What the interface asks of an op, by the numbered constraints of the dialect's ops.
LogicalResult verifyPaddingAwareOp(Operation *op);
LogicalResult verifyPermutationOp(Operation *op);

namespace detail {
SmallVector<StringRef> getOperandNames(Operation *op);
unsigned getNumInputs(Operation *op);
} // namespace detail

} // namespace mlir::moe

#include "moe/IR/MoeOpsDialect.h.inc"

#include "moe/IR/MoeEnums.h.inc"

#include "moe/IR/Schedule.h"

namespace mlir::moe {

class BlockFormatAttrInterface;

/// A lowering, by the ways in which rows can be stored. A format says which is its own.
class FormatLowering {
public:
  virtual ~FormatLowering() = default;
  /// Each element as it is computed.
  virtual void lowerElements() = 0;
  /// Groups of elements, with a scale each.
  virtual void lowerGroups(BlockFormatAttrInterface format) = 0;
};

/// `FormatAttrInterface::checkSchedule` of formats without scales.
std::optional<std::string> checkScheduleOfElements(const Schedule &schedule);

} // namespace mlir::moe

#include "moe/IR/MoeAttrInterfaces.h.inc"

namespace mlir::moe {

/// Methods of formats with scales.
std::optional<std::string> checkScalesOfGroups(BlockFormatAttrInterface format,
                                               StringRef name, int64_t rows,
                                               int64_t columns, TypeRange scales);
std::optional<std::string> checkScheduleOfGroups(BlockFormatAttrInterface format,
                                                 const Schedule &schedule);
int64_t getMinStepsOfGroups(BlockFormatAttrInterface format, const Schedule &schedule);

} // namespace mlir::moe

#define GET_ATTRDEF_CLASSES
#include "moe/IR/MoeAttrs.h.inc"

#include "moe/IR/MoeInterfaces.h.inc"

/// What Moe_DestinationStyleOpBase of MoeOpBase.td defines for each op.
namespace mlir::moe::detail {

MutableOperandRange getDestinationsMutable(Operation *op);
LogicalResult foldMemRefCasts(Operation *op);
void addContradictionPattern(RewritePatternSet &patterns, StringRef opName);
void collectEffects(
    Operation *op,
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects);
Speculation::Speculatability getSpeculatability(Operation *op);
LogicalResult reifyShapes(Operation *op, OpBuilder &builder,
                          ReifiedRankedShapedTypeDims &shapes);

/// What the ops of gated linear units have in common.
PairsAttr getGatePairs(GateLayoutAttr layout, MLIRContext *context);
std::string getGatedKernelSuffix(Operation *op);
Value buildGatedActivation(Operation *op, OpBuilder &builder, Location loc,
                           ValueRange elements, Value prob);
std::optional<std::string> checkGatedOp(Operation *op);
/// The name of the kernels of a named op: what its activation has for its parameters, and
/// what the operands and rows are.
std::string getKernelName(PaddingAwareOpInterface op, const std::string &parameters);

} // namespace mlir::moe::detail

#define GET_OP_CLASSES
#include "moe/IR/MoeOps.h.inc"

namespace mlir::moe {

/// Which constraint `op` would break if its operands had `types`, as the verifier says
/// it; nothing if it would be valid. For a rewrite that puts other operands in their
/// place.
std::optional<std::string> checkOperandTypes(PaddingAwareOpInterface op, TypeRange types);
/// The same for an op that computes its columns of other `pairs`, and its rows of those
/// that the map names if it `gathers`.
std::optional<std::string> checkOperandTypes(PaddingAwareOpInterface op, PairsAttr pairs,
                                             bool gathers, TypeRange types);

/// Which op of the region of `moe.map_rows` may not be there, as the verifier says it;
/// nothing if all may. (C13)
std::optional<std::string> checkActivationOp(Operation *op);

/// The activation that `block`, the region of a `moe.map_rows`, computes of `elements`:
/// for each of its arguments a bf16 or a vector of them, of any shape. The result has
/// their type.
Value buildActivation(OpBuilder &builder, Location loc, Block &block,
                      ValueRange elements);

/// Makes the region of a `moe.map_rows` that computes, by `build`, its activation of what
/// `op` computes it of.
void buildActivationRegion(OpBuilder &builder, Location loc, Region &region,
                           PaddingAwareOpInterface op,
                           function_ref<Value(ValueRange)> build);

/// What `block`, the region of a `moe.map_rows`, is proven to yield.
struct ActivationFacts {
  /// Whether it may be NaN, of either sign.
  bool mayBeNaN = true;
  /// Whether it may have its sign set, other than as NaN: less than 0, or -0.
  bool mayBeNegative = true;
};
ActivationFacts getActivationFacts(Block &block);

/// The `moe.map_rows` that `op` is a case of, in its place. `op` itself if it is one.
MapRowsOp generalize(RewriterBase &rewriter, PaddingAwareOpInterface op);

/// What keeps `op` from being lowered by `schedule`; nothing if nothing does.
std::optional<std::string> checkSchedule(PaddingAwareOpInterface op,
                                         const Schedule &schedule);
std::optional<std::string> checkSchedule(PermutationOpInterface op,
                                         const Schedule &schedule);

/// The discardable attribute of an op with its schedules, an array of ScheduleAttr.
inline constexpr llvm::StringLiteral kScheduleAttrName = "moe.schedule";

/// That with the number of rows that are expected to be live, a positive i64. Launches
/// have a grid that suits it; no result depends on it.
inline constexpr llvm::StringLiteral kExpectedRowsAttrName = "moe.expected_rows";

} // namespace mlir::moe

#endif // MOE_IR_MOE_H
