//===- Status.h - Failures and their messages -------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The message behind moeGetLastError.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_DRIVER_STATUS_H
#define MOE_LIB_DRIVER_STATUS_H

#include "moe-c/Runtime.h"

namespace moe {

/// Keeps the message, formatted as by printf, for this thread, and returns `status`.
/// Cold, so that what only failures run is not between what every launch does.
MoeStatus fail(MoeStatus status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

const char *getLastError();

} // namespace moe

#endif // MOE_LIB_DRIVER_STATUS_H
