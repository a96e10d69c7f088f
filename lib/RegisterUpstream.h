//===- RegisterUpstream.h - What the pipelines need of MLIR -----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The parts of registerAllMoeDialects that are about other dialects.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_REGISTERUPSTREAM_H
#define MOE_LIB_REGISTERUPSTREAM_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace mlir::moe {

/// The dialects of what the pipelines take and of what they make.
void registerUpstreamDialects(DialectRegistry &registry);

/// How ops of these dialects bufferize, are freed and are checked at run time.
void registerUpstreamBufferization(DialectRegistry &registry);

/// How ops of these dialects are converted to the LLVM dialect, translated and compiled.
void registerUpstreamConversions(DialectRegistry &registry);

} // namespace mlir::moe

#endif // MOE_LIB_REGISTERUPSTREAM_H
