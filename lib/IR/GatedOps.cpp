//===- GatedOps.cpp - Gated linear units as named ops ---------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the attributes of the ops of MoeOps.td with gates mean, and the text of
// gate_layout.
//
//===----------------------------------------------------------------------===//

#include "GatedUnit.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// The layout
//===----------------------------------------------------------------------===//

static constexpr llvm::StringLiteral kGateUpWord = "gate_up";
static constexpr llvm::StringLiteral kUpGateWord = "up_gate";
static constexpr llvm::StringLiteral kInterleavedWord = "interleaved";

Attribute GateLayoutAttr::parse(AsmParser &parser, Type) {
  SMLoc loc;
  StringRef word;
  if (parser.parseLess() || parser.getCurrentLocation(&loc) || parser.parseKeyword(&word))
    return {};
  int64_t block = PairsAttr::kHalves;
  if (word == kInterleavedWord) {
    if (parser.parseLess() || parser.getCurrentLocation(&loc) ||
        parser.parseInteger(block) || parser.parseGreater())
      return {};
    if (block == PairsAttr::kHalves) {
      parser.emitError(loc) << "expected blocks of 1 column at least, found " << block;
      return {};
    }
  } else if (word != kGateUpWord && word != kUpGateWord) {
    parser.emitError(loc) << "expected " << kGateUpWord << ", " << kUpGateWord << " or "
                          << kInterleavedWord << "<columns of a block>, found " << word;
    return {};
  }
  auto pairs = parser.getChecked<PairsAttr>(loc, parser.getContext(), block);
  if (!pairs || parser.parseGreater())
    return {};
  return get(parser.getContext(), pairs, word == kUpGateWord);
}

void GateLayoutAttr::print(AsmPrinter &printer) const {
  if (!getPairs().areHalves())
    printer << "<" << kInterleavedWord << "<" << getPairs().getBlock() << ">>";
  else
    printer << "<" << (getIsGateSecond() ? kUpGateWord : kGateUpWord) << ">";
}

PairsAttr mlir::moe::detail::getGatePairs(GateLayoutAttr layout, MLIRContext *context) {
  return layout ? layout.getPairs() : PairsAttr::get(context, PairsAttr::kHalves);
}

std::string mlir::moe::detail::getKernelName(PaddingAwareOpInterface op,
                                             const std::string &parameters) {
  std::string name = parameters;
  if (!op.getPermutationMap())
    name += "_dense";
  if (op.getProbs())
    name += "_probs";
  if (op.getDeadRows() == DeadRows::Zero)
    name += "_zeroed";
  // What the format adds has room in the description of a kernel.
  constexpr size_t kMostCharacters = 46;
  if (name.size() > kMostCharacters)
    name = llvm::formatv("_{0:x-16}", llvm::xxh3_64bits(name));
  return op->getName().stripDialect().str() + name;
}

//===----------------------------------------------------------------------===//
// The ops
//===----------------------------------------------------------------------===//

namespace {

/// What both ops say.
struct GatedOp {
  GatedOp(Operation *op) {
    llvm::TypeSwitch<Operation *>(op).Case<PaddedSwiGLUOp, SwiGLUQuantizeMXFP8Op>(
        [&](auto op) {
          layout = op.getGateLayoutAttr();
          unit.activation = op.getActivation();
          unit.alpha = op.getAlpha().convertToFloat();
          unit.beta = op.getBeta().convertToFloat();
          unit.limitAt = op.getLimitAt();
          if (std::optional<APFloat> limit = op.getLimit())
            unit.limit = limit->convertToFloat();
        });
  }

  GateLayoutAttr layout;
  GatedUnit unit;
};

} // namespace

Value mlir::moe::detail::buildGatedActivation(Operation *op, OpBuilder &builder,
                                              Location loc, ValueRange elements,
                                              Value prob) {
  GatedOp gated(op);
  bool isGateSecond = gated.layout && gated.layout.getIsGateSecond();
  return buildGatedUnit(builder, loc, gated.unit, elements[isGateSecond ? 1 : 0],
                        elements[isGateSecond ? 0 : 1], prob);
}

std::optional<std::string> mlir::moe::detail::checkGatedOp(Operation *op) {
  const GatedUnit unit = GatedOp(op).unit;
  auto isFinite = [](float value) { return APFloat(value).isFinite(); };
  auto quote = [&](float value) {
    return llvm::formatv("{0}", FloatAttr::get(Float32Type::get(op->getContext()), value))
        .str();
  };
  if (unit.limit) {
    bool losesInfo;
    APFloat narrow(*unit.limit);
    narrow.convert(APFloat::BFloat(), APFloat::rmNearestTiesToEven, &losesInfo);
    if (losesInfo || !isFinite(*unit.limit) || !(*unit.limit > 0))
      return "expected 'limit' to be a positive finite bf16 value, found " +
             quote(*unit.limit) + " (C15)";
  } else if (unit.limitAt == LimitAt::After) {
    return "expected a 'limit' for limit_at<after>, found none (C15)";
  }
  for (auto [name, value] : {std::pair("alpha", unit.alpha), {"beta", unit.beta}})
    if (!isFinite(value))
      return llvm::formatv("expected '{0}' to be finite, found {1} (C16)", name,
                           quote(value));
  if (unit.activation == GateActivation::GeluTanh && unit.alpha != 1)
    return "expected 'alpha' to be 1 with activation<gelu_tanh>, found " +
           quote(unit.alpha) + " (C16)";
  return std::nullopt;
}

std::string mlir::moe::detail::getGatedKernelSuffix(Operation *op) {
  GatedOp gated(op);
  const GatedUnit &unit = gated.unit;
  std::string name;
  if (gated.layout && gated.layout.getIsGateSecond())
    name += "_up_gate";
  if (gated.layout && !gated.layout.getPairs().areHalves())
    name += "_interleaved" + std::to_string(gated.layout.getPairs().getBlock());
  if (unit.activation != GateActivation::Silu)
    name += ("_" + stringifyGateActivation(unit.activation)).str();
  if (unit.limit)
    name += "_limit" + nameNumber(*unit.limit);
  if (unit.limitAt != LimitAt::Before)
    name += ("_" + stringifyLimitAt(unit.limitAt)).str();
  if (unit.alpha != 1)
    name += "_alpha" + nameNumber(unit.alpha);
  if (unit.beta != 0)
    name += "_beta" + nameNumber(unit.beta);
  return name;
}
