//===- RegisterAll.h - All of moe-mlir in three calls -----------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a tool or a compiler calls to have everything that this project offers.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_REGISTERALL_H
#define MOE_REGISTERALL_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace mlir::moe {

/// The moe dialect with its external models of upstream interfaces, and of upstream what
/// the pipelines need: the dialects that may stand beside moe ops with their
/// bufferization, and the conversions and translations to PTX. A program that registers
/// no more can parse and lower whatever docs/reference/Pipelines.md says that they take.
void registerAllMoeDialects(DialectRegistry &registry);

/// The passes of include/moe/{Transforms,Conversion,Target}/Passes.td.
void registerAllMoePasses();

/// The pipelines of include/moe/Pipelines/Pipelines.h.
void registerAllMoePipelines();

} // namespace mlir::moe

#endif // MOE_REGISTERALL_H
