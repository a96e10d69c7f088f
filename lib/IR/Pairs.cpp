//===- Pairs.cpp - Pairs of columns ---------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// #moe.pairs: text and verification.
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/DialectImplementation.h"
#include "moe/IR/Moe.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

static constexpr llvm::StringLiteral kHalvesWord = "halves";

Attribute PairsAttr::parse(AsmParser &parser, Type) {
  SMLoc loc;
  StringRef word;
  int64_t block = kHalves;
  if (parser.parseLess() || parser.getCurrentLocation(&loc) || parser.parseKeyword(&word))
    return {};
  if (word == kInterleavedWord) {
    if (parser.parseLess() || parser.getCurrentLocation(&loc) ||
        parser.parseInteger(block) || parser.parseGreater())
      return {};
    // Which would be halves.
    if (block == kHalves) {
      parser.emitError(loc) << "expected blocks of 1 column at least, found " << block;
      return {};
    }
  } else if (word != kHalvesWord) {
    parser.emitError(loc) << "expected " << kHalvesWord << " or " << kInterleavedWord
                          << "<columns of a block>, found " << word;
    return {};
  }
  if (parser.parseGreater())
    return {};
  return parser.getChecked<PairsAttr>(loc, parser.getContext(), block);
}

void PairsAttr::print(AsmPrinter &printer) const {
  if (areHalves())
    printer << "<" << kHalvesWord << ">";
  else
    printer << "<" << kInterleavedWord << "<" << getBlock() << ">>";
}

LogicalResult PairsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                int64_t block) {
  if (block == kHalves || (block > 0 && llvm::isInt<31>(block)))
    return success();
  return emitError() << "expected blocks of 1 to 2^30 - 1 columns, found " << block;
}
