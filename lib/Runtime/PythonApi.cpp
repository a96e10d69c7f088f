//===- PythonApi.cpp - Looks up Python's C API ----------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PythonApi.h"

#include <dlfcn.h>
#include <type_traits>

namespace moe::python {

// NOLINTBEGIN(bugprone-macro-parentheses)
#define MOE_PYTHON_DEFINE(result, name, parameters) result(*name) parameters = nullptr;
MOE_PYTHON_FUNCTIONS(MOE_PYTHON_DEFINE)
#undef MOE_PYTHON_DEFINE

#define MOE_PYTHON_DEFINE(name, symbol) PyObject *name = nullptr;
MOE_PYTHON_OBJECTS(MOE_PYTHON_DEFINE)
#undef MOE_PYTHON_DEFINE
// NOLINTEND(bugprone-macro-parentheses)
PyObject *TypeError = nullptr;

} // namespace moe::python

using namespace moe;

bool python::findApi() {
  bool isComplete = true;
  auto find = [&](auto &pointer, const char *name) {
    void *symbol = dlsym(RTLD_DEFAULT, name);
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(symbol);
    isComplete &= symbol != nullptr;
  };
#define MOE_PYTHON_FIND(result, name, parameters) find(name, #name);
  MOE_PYTHON_FUNCTIONS(MOE_PYTHON_FIND)
#undef MOE_PYTHON_FIND
#define MOE_PYTHON_FIND(name, symbol) find(name, #symbol);
  MOE_PYTHON_OBJECTS(MOE_PYTHON_FIND)
#undef MOE_PYTHON_FIND
  PyObject **typeError = nullptr;
  find(typeError, "PyExc_TypeError");
  if (isComplete)
    TypeError = *typeError;
  return isComplete;
}
