//===- Diagnostics.h - Errors about compiled kernels ------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An error on an op prints the op, and a driver the line of the source that it is at. Of
// an op that holds a compiled kernel, both are many pages.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TARGET_DIAGNOSTICS_H
#define MOE_TARGET_DIAGNOSTICS_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Diagnostics.h"

namespace mlir::moe {

/// An error at the location of `op`, without the op. That of a `gpu.binary` has a file
/// and a line but no column: drivers do not print the line of such a location.
inline InFlightDiagnostic emitErrorAt(Operation *op) {
  Location loc = op->getLoc();
  if (isa<gpu::BinaryOp>(op))
    if (auto place = loc->findInstanceOf<FileLineColLoc>())
      loc = FileLineColLoc::get(place.getFilename(), place.getLine(), /*column=*/0);
  return emitError(loc);
}

} // namespace mlir::moe

#endif // MOE_TARGET_DIAGNOSTICS_H
