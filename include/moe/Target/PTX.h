//===- PTX.h - PTX text out of a lowered module -----------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The end of the GPU path: what the driver is given.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TARGET_PTX_H
#define MOE_TARGET_PTX_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringRef.h"

namespace mlir {
class ModuleOp;
} // namespace mlir

namespace mlir::moe {

/// Writes the PTX of the only `gpu.binary` of `module` (or of the one called `binary`),
/// in the form for `chip` if it has several. Anything else is an error that says what the
/// module holds.
LogicalResult translateToPTX(ModuleOp module, raw_ostream &output, StringRef binary = {},
                             StringRef chip = {});

} // namespace mlir::moe

#endif // MOE_TARGET_PTX_H
