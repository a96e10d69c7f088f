//===- Image.h - Images of GPU code -----------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_IMAGE_H
#define MOE_LIB_RUNTIME_IMAGE_H

#include "moe-c/Runtime.h"

namespace moe {

/// Whether `image` is PTX text (else a cubin or a fatbin). Fails if it is none of these
/// or shorter than it says: the driver takes no size, and would read on.
MoeStatus checkImage(const void *image, size_t size, bool &isText);

} // namespace moe

#endif // MOE_LIB_RUNTIME_IMAGE_H
