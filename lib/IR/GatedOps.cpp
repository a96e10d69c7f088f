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

#include "../Launch/KernelName.h"
#include "GatedUnit.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// The layout
//===----------------------------------------------------------------------===//

static constexpr llvm::StringLiteral kGateUpWord = "gate_up";
static constexpr llvm::StringLiteral kUpGateWord = "up_gate";

Attribute GateLayoutAttr::parse(AsmParser &parser, Type) {
  SMLoc loc;
  StringRef word;
  if (parser.parseLess() || parser.getCurrentLocation(&loc) || parser.parseKeyword(&word))
    return {};
  int64_t block = PairsAttr::kHalves;
  if (word == PairsAttr::kInterleavedWord) {
    if (parser.parseLess() || parser.getCurrentLocation(&loc) ||
        parser.parseInteger(block) || parser.parseGreater())
      return {};
    if (block == PairsAttr::kHalves) {
      parser.emitError(loc) << "expected blocks of 1 column at least, found " << block;
      return {};
    }
  } else if (word != kGateUpWord && word != kUpGateWord) {
    parser.emitError(loc) << "expected " << kGateUpWord << ", " << kUpGateWord << " or "
                          << PairsAttr::kInterleavedWord << "<columns of a block>, found "
                          << word;
    return {};
  }
  auto pairs = parser.getChecked<PairsAttr>(loc, parser.getContext(), block);
  if (!pairs || parser.parseGreater())
    return {};
  return get(parser.getContext(), pairs, word == kUpGateWord);
}

void GateLayoutAttr::print(AsmPrinter &printer) const {
  if (!getPairs().areHalves())
    printer << "<" << PairsAttr::kInterleavedWord << "<" << getPairs().getBlock() << ">>";
  else
    printer << "<" << (getIsGateSecond() ? kUpGateWord : kGateUpWord) << ">";
}

PairsAttr mlir::moe::detail::getGatePairs(GateLayoutAttr layout, MLIRContext *context) {
  return layout ? layout.getPairs() : PairsAttr::get(context, PairsAttr::kHalves);
}

std::string mlir::moe::detail::getKernelName(PaddingAwareOpInterface op,
                                             const std::string &parameters) {
  ::moe::launch::NameText name;
  name.add(op->getName().stripDialect().str().c_str());
  size_t begin = name.length();
  name.add(parameters.c_str());
  ::moe::launch::addOperands(name, begin, bool(op.getPermutationMap()),
                             bool(op.getProbs()), op.getDeadRows() == DeadRows::Zero);
  return name.c_str();
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
  ::moe::launch::GateName parameters;
  if (gated.layout) {
    parameters.isGateSecond = gated.layout.getIsGateSecond();
    parameters.block = gated.layout.getPairs().getBlock();
  }
  parameters.isGeluTanh = unit.activation == GateActivation::GeluTanh;
  parameters.limit = unit.limit ? &*unit.limit : nullptr;
  parameters.isLimitAfter = unit.limitAt == LimitAt::After;
  parameters.alpha = unit.alpha;
  parameters.beta = unit.beta;
  ::moe::launch::NameText name;
  ::moe::launch::addGate(name, parameters);
  return name.c_str();
}
