//===- ExternalModels.h - Interfaces implemented from outside ---*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Models of upstream interfaces for the ops of the dialect, registered apart from it so
// that the dialect does not depend on bufferization.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TRANSFORMS_EXTERNALMODELS_H
#define MOE_TRANSFORMS_EXTERNALMODELS_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace mlir::moe {

/// One-shot bufferization, in place on `outs`.
void registerBufferizableOpInterfaceModels(DialectRegistry &registry);

/// Checks of sizes that are known only when the program runs, for
/// `-generate-runtime-verification`.
void registerRuntimeVerifiableOpInterfaceModels(DialectRegistry &registry);

} // namespace mlir::moe

#endif // MOE_TRANSFORMS_EXTERNALMODELS_H
