//===- Schedule.cpp - How the work of an op is cut up ---------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `#moe.schedule`: text, verification, and which schedules suit which op.
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/DialectImplementation.h"
#include "moe/IR/Moe.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

namespace {

/// A field that is a number. Its default is that of the struct.
struct NumberField {
  llvm::StringLiteral name;
  int64_t Schedule::*member;
  int64_t min, max;
  bool isPowerOfTwo;
};

/// A field that is true or false, as is its default.
struct BoolField {
  llvm::StringLiteral name;
  bool Schedule::*member;
};

} // namespace

static constexpr NumberField numberFields[] = {
    {"threads", &Schedule::threads, 32, 1024, true},
    {"access_bytes", &Schedule::accessBytes, 2, 32, true},
    {"steps", &Schedule::steps, 1, 32, true},
    {"early_bytes", &Schedule::earlyBytes, 0, int64_t(1) << 40, false},
    {"early_steps", &Schedule::earlySteps, 0, 32, false},
    {"clear_bytes", &Schedule::clearBytes, 1, 16, true},
    {"min_ctas", &Schedule::minCTAs, 1, 32, false},
    {"num_ctas", &Schedule::numCTAs, 1, 65535, false},
    {"alignment", &Schedule::alignment, 2, 32, true},
    {"cluster", &Schedule::cluster, 1, 8, true},
};
static constexpr BoolField boolFields[] = {
    {"waits", &Schedule::waits},
    {"keeps_x", &Schedule::keepsX},
};
static constexpr llvm::StringLiteral kRowsField = "rows";
/// What an SM has room for.
static constexpr int64_t kThreadsPerSM = 2048;

bool mlir::moe::operator==(const Schedule &lhs, const Schedule &rhs) {
  auto isEqual = [&](const auto &field) {
    return lhs.*field.member == rhs.*field.member;
  };
  return lhs.rows == rhs.rows && llvm::all_of(numberFields, isEqual) &&
         llvm::all_of(boolFields, isEqual);
}

llvm::hash_code mlir::moe::hash_value(const Schedule &schedule) {
  llvm::hash_code hash = llvm::hash_value(schedule.rows);
  for (const NumberField &field : numberFields)
    hash = llvm::hash_combine(hash, schedule.*field.member);
  for (const BoolField &field : boolFields)
    hash = llvm::hash_combine(hash, schedule.*field.member);
  return hash;
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

Attribute ScheduleAttr::parse(AsmParser &parser, Type) {
  Schedule schedule;
  bool hasAlignment = false;
  SMLoc start = parser.getCurrentLocation();
  llvm::StringSet<> seen;
  auto parseField = [&]() -> ParseResult {
    SMLoc loc = parser.getCurrentLocation();
    StringRef name;
    if (parser.parseKeyword(&name) || parser.parseEqual())
      return failure();
    if (!seen.insert(name).second)
      return parser.emitError(loc) << "expected '" << name << "' once";
    hasAlignment |= name == "alignment";
    for (const NumberField &field : numberFields)
      if (field.name == name)
        return parser.parseInteger(schedule.*field.member);
    StringRef word;
    SMLoc wordLoc = parser.getCurrentLocation();
    if (name == kRowsField) {
      if (parser.parseKeyword(&word))
        return failure();
      if (std::optional<RowOrder> rows = symbolizeRowOrder(word)) {
        schedule.rows = *rows;
        return success();
      }
      return parser.emitError(wordLoc)
             << "expected '" << kRowsField << "' to be single or quads, found " << word;
    }
    for (const BoolField &field : boolFields) {
      if (field.name != name)
        continue;
      if (parser.parseKeyword(&word))
        return failure();
      schedule.*field.member = word == "true";
      if (word != "true" && word != "false")
        return parser.emitError(wordLoc)
               << "expected '" << name << "' to be true or false, found " << word;
      return success();
    }
    auto error = parser.emitError(loc)
                 << "unknown field '" << name << "' of a schedule, expected one of ";
    for (const NumberField &field : numberFields)
      error << field.name << ", ";
    error << kRowsField;
    for (const BoolField &field : boolFields)
      error << ", " << field.name;
    return error;
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, parseField))
    return {};
  if (!hasAlignment)
    schedule.alignment = schedule.accessBytes;
  return parser.getChecked<ScheduleAttr>(start, parser.getContext(), schedule);
}

void ScheduleAttr::print(AsmPrinter &printer) const {
  Schedule schedule = getValue(), standard;
  standard.alignment = schedule.accessBytes;
  SmallVector<std::string> fields;
  for (const NumberField &field : numberFields)
    if (schedule.*field.member != standard.*field.member)
      fields.push_back(llvm::formatv("{0} = {1}", field.name, schedule.*field.member));
  if (schedule.rows != standard.rows)
    fields.push_back(
        llvm::formatv("{0} = {1}", kRowsField, stringifyRowOrder(schedule.rows)));
  for (const BoolField &field : boolFields)
    if (schedule.*field.member != standard.*field.member)
      fields.push_back(llvm::formatv("{0} = {1}", field.name, schedule.*field.member));
  printer << "<" << llvm::join(fields, ", ") << ">";
}

//===----------------------------------------------------------------------===//
// Verification
//===----------------------------------------------------------------------===//

LogicalResult ScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                   Schedule schedule) {
  for (const NumberField &field : numberFields) {
    int64_t value = schedule.*field.member;
    if (value < field.min || value > field.max ||
        (field.isPowerOfTwo && !llvm::isPowerOf2_64(value)))
      return emitError() << "expected '" << field.name << "' to be "
                         << (field.isPowerOfTwo ? "a power of two " : "") << "from "
                         << field.min << " to " << field.max << ", found " << value;
  }
  if (schedule.threads * schedule.minCTAs > kThreadsPerSM)
    return emitError() << "expected 'min_ctas' times 'threads' to be at most "
                       << kThreadsPerSM << ", found " << schedule.minCTAs << " times "
                       << schedule.threads;
  if (schedule.numCTAs < schedule.cluster)
    return emitError() << "expected 'num_ctas' to be at least 'cluster', "
                       << schedule.cluster << ", found " << schedule.numCTAs;
  if (schedule.alignment > schedule.accessBytes)
    return emitError() << "expected 'alignment' to be at most 'access_bytes', "
                       << schedule.accessBytes << ", found " << schedule.alignment;
  int64_t clearBytes = schedule.hasQuads() ? 16 : 1;
  if (schedule.clearBytes != clearBytes)
    return emitError() << "expected 'clear_bytes' to be " << clearBytes
                       << " with rows = " << stringifyRowOrder(schedule.rows)
                       << ", found " << schedule.clearBytes;
  if (schedule.earlyBytes != 0 && schedule.hasQuads())
    return emitError() << "expected 'early_bytes' to be 0 with rows = quads, found "
                       << schedule.earlyBytes;
  if (schedule.earlySteps == 0)
    return success();
  if (schedule.earlyBytes == 0)
    return emitError() << "expected 'early_steps' to be 0 with 'early_bytes' of 0, found "
                       << schedule.earlySteps;
  if (!llvm::isPowerOf2_64(schedule.earlySteps) || schedule.earlySteps > schedule.steps)
    return emitError() << "expected 'early_steps' to be 0, or a power of two that is at "
                          "most 'steps', "
                       << schedule.steps << ", found " << schedule.earlySteps;
  return success();
}

/// What formats whose scales are not swizzled, or that have none, ask of a schedule.
static std::optional<std::string> checkRowOrder(const Schedule &schedule) {
  if (schedule.hasQuads())
    return "rows = quads is for swizzled scales, found an op without";
  return std::nullopt;
}

std::optional<std::string> mlir::moe::checkScheduleOfElements(const Schedule &schedule) {
  return checkRowOrder(schedule);
}

/// Each lane of a group computes the scale of one step at most.
static int64_t getLanesPerGroup(BlockFormatAttrInterface format,
                                const Schedule &schedule) {
  return format.getGroupSize() / schedule.elements();
}

/// Two scales travel together; those of a quad are a word.
int64_t mlir::moe::getMinStepsOfGroups(BlockFormatAttrInterface format,
                                       const Schedule &schedule) {
  return schedule.hasQuads() ? getLanesPerGroup(format, schedule) : 2;
}

std::optional<std::string>
mlir::moe::checkScheduleOfGroups(BlockFormatAttrInterface format,
                                 const Schedule &schedule) {
  if (format.getScaleLayout() != ScaleLayout::Swizzle32_4_4)
    if (std::optional<std::string> violation = checkRowOrder(schedule))
      return violation;
  if (schedule.earlyBytes != 0)
    return llvm::formatv("expected 'early_bytes' to be 0 for an op that quantises, "
                         "found {0}",
                         schedule.earlyBytes);
  int64_t minSteps = getMinStepsOfGroups(format, schedule);
  int64_t maxSteps = getLanesPerGroup(format, schedule);
  if (schedule.steps < minSteps || schedule.steps > maxSteps)
    return llvm::formatv(
        "expected from {0} to {1} 'steps' of {2} bytes for a group of {3} "
        "elements{4}, found {5}",
        minSteps, maxSteps, schedule.accessBytes, format.getGroupSize(),
        schedule.hasQuads() ? " with rows = quads" : "", schedule.steps);
  // The lanes that store the scales of a quad's rows in a column tile are neighbours.
  constexpr int64_t kMinQuadBytes = 8;
  if (schedule.hasQuads() && schedule.accessBytes < kMinQuadBytes)
    return llvm::formatv("expected 'access_bytes' to be {0} at least with rows = quads, "
                         "found {1}",
                         kMinQuadBytes, schedule.accessBytes);
  return std::nullopt;
}

/// What ops ask of a schedule whose CTAs have nothing to say to each other.
static std::optional<std::string> checkNoClusters(Operation *op,
                                                  const Schedule &schedule) {
  if (!schedule.hasClusters())
    return std::nullopt;
  return llvm::formatv("expected 'cluster' to be 1 for {0}, found {1}",
                       op->getName().getStringRef(), schedule.cluster);
}

std::optional<std::string> mlir::moe::checkSchedule(PaddingAwareOpInterface op,
                                                    const Schedule &schedule) {
  if (std::optional<std::string> violation = checkNoClusters(op, schedule))
    return violation;
  if (op.getDeadRows() == DeadRows::Zero &&
      (schedule.hasQuads() || schedule.earlyBytes != 0))
    return "dead_rows<zero> is for rows = single and 'early_bytes' of 0";
  if (op.getGathers() && schedule.earlyBytes != 0)
    return llvm::formatv("expected 'early_bytes' to be 0 for an op that gathers rows, "
                         "found {0}",
                         schedule.earlyBytes);
  PairsAttr pairs = op.getColumnPairs();
  if (pairs && !pairs.haveVectors(schedule.elements()))
    return llvm::formatv("expected 'access_bytes' of {0} elements that divide blocks of "
                         "{1}, or are a multiple of them, found {2}",
                         schedule.elements(), pairs, schedule.accessBytes);
  return op.getFormat().checkSchedule(schedule);
}

std::optional<std::string> mlir::moe::checkSchedule(PermutationOpInterface op,
                                                    const Schedule &schedule) {
  if (schedule.hasQuads() || schedule.earlyBytes != 0 || schedule.keepsX)
    return llvm::formatv("expected rows = single, 'early_bytes' of 0 and 'keeps_x' of "
                         "false for {0}",
                         op->getName().getStringRef());
  if (!isa<RouteTokensOp>(op.getOperation()))
    return checkNoClusters(op, schedule);
  if (schedule.hasClusters()) {
    if (schedule.threads != Schedule::kClusterThreads)
      return llvm::formatv(
          "expected 'threads' to be {0} with 'cluster' of {1}, found {2}",
          Schedule::kClusterThreads, schedule.cluster, schedule.threads);
    return std::nullopt;
  }
  // What has counters in shared memory, and loads in flight, is made for so many threads.
  constexpr int64_t kLeast = 256;
  if (schedule.threads < kLeast)
    return llvm::formatv("expected 'threads' to be {0} or more, found {1}", kLeast,
                         schedule.threads);
  return std::nullopt;
}

LogicalResult MoeDialect::verifyOperationAttribute(Operation *op,
                                                   NamedAttribute attribute) {
  if (attribute.getName() != kScheduleAttrName &&
      attribute.getName() != kExpectedRowsAttrName)
    return success();
  auto paddingAware = dyn_cast<PaddingAwareOpInterface>(op);
  auto permutation = dyn_cast<PermutationOpInterface>(op);
  if (!paddingAware && !(permutation && attribute.getName() == kScheduleAttrName))
    return op->emitError("expected '")
           << attribute.getName().getValue() << "' on a padding-aware op, found it on '"
           << op->getName() << "'";
  if (attribute.getName() == kExpectedRowsAttrName) {
    auto rows = dyn_cast<IntegerAttr>(attribute.getValue());
    if (rows && rows.getType().isSignlessInteger(64) && rows.getInt() > 0)
      return success();
    return op->emitError("expected '")
           << kExpectedRowsAttrName << "' to be a positive i64, found "
           << attribute.getValue();
  }
  auto schedules = dyn_cast<ArrayAttr>(attribute.getValue());
  if (!schedules || schedules.empty() || !llvm::all_of(schedules, [](Attribute schedule) {
        return isa<ScheduleAttr>(schedule);
      }))
    return op->emitError("expected '")
           << kScheduleAttrName << "' to be an array of #moe.schedule, found "
           << attribute.getValue();
  for (auto [index, schedule] : llvm::enumerate(schedules.getAsRange<ScheduleAttr>())) {
    if (std::optional<std::string> violation =
            paddingAware ? checkSchedule(paddingAware, schedule.getValue())
                         : checkSchedule(permutation, schedule.getValue()))
      return op->emitError("'")
             << kScheduleAttrName << "': " << *violation << " in " << schedule;
    if (schedule.getValue().isElementwise() && index + 1 != schedules.size())
      return op->emitError("'") << kScheduleAttrName << "': expected no schedule after "
                                << schedule << ", which suits all operands";
  }
  return success();
}
