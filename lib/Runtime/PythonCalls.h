//===- PythonCalls.h - The ops as functions of Python -----------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the library exports for the Python package moe_mlir of the same version, and for
// nothing else: no part of the C API.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_PYTHONCALLS_H
#define MOE_LIB_RUNTIME_PYTHONCALLS_H

#include "PythonApi.h"
#include "moe-c/Runtime.h"

extern "C" {

/// A new dict of the functions that python/moe_mlir/_runtime.py describes; null, without
/// an exception, where Python's API is not found. With the GIL held.
MOE_API PyObject *moeGetPythonCalls();
}

#endif // MOE_LIB_RUNTIME_PYTHONCALLS_H
