//===- PythonApi.h - The part of Python's C API that is used ----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Declarations of our own for functions of CPython's stable ABI, which are looked up in
// the process when a Python program asks for its calls: the library builds without
// Python, one build serves every version, and programs without Python never notice.
// test/Runtime/check_python.cpp compares them with Python.h.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_PYTHONAPI_H
#define MOE_LIB_RUNTIME_PYTHONAPI_H

#include <cstddef>

// As Python.h has them.
// NOLINTBEGIN(bugprone-reserved-identifier)
struct _object;
struct _ts;
// NOLINTEND(bugprone-reserved-identifier)
using PyObject = struct _object;
using PyThreadState = struct _ts;

namespace moe::python {

/// Py_ssize_t.
using Size = ptrdiff_t;
/// PyCFunctionFast: METH_FASTCALL.
using FastCall = PyObject *(*)(PyObject * self, PyObject *const *arguments, Size count);
constexpr int kFastCall = 0x80;

/// PyMethodDef.
struct MethodDef {
  const char *name;
  FastCall function;
  int flags;
  const char *doc;
};

/// Functions: result, name, parameters. A MethodDef stands for a PyMethodDef.
#define MOE_PYTHON_FUNCTIONS(X)                                                          \
  X(PyObject *, PyCFunction_NewEx, (MethodDef *, PyObject *, PyObject *))                \
  X(void *, PyCapsule_GetPointer, (PyObject *, const char *))                            \
  X(PyObject *, PyCapsule_New, (void *, const char *, void (*)(PyObject *)))             \
  X(PyObject *, PyDict_GetItemWithError, (PyObject *, PyObject *))                       \
  X(PyObject *, PyDict_New, ())                                                          \
  X(int, PyDict_SetItem, (PyObject *, PyObject *, PyObject *))                           \
  X(int, PyDict_SetItemString, (PyObject *, const char *, PyObject *))                   \
  X(void, PyErr_Clear, ())                                                               \
  X(PyObject *, PyErr_NoMemory, ())                                                      \
  X(PyObject *, PyErr_Occurred, ())                                                      \
  X(void, PyErr_SetString, (PyObject *, const char *))                                   \
  X(void, PyEval_RestoreThread, (PyThreadState *))                                       \
  X(PyThreadState *, PyEval_SaveThread, ())                                              \
  X(int, PyList_Append, (PyObject *, PyObject *))                                        \
  X(PyObject *, PyList_AsTuple, (PyObject *))                                            \
  X(PyObject *, PyList_New, (Size))                                                      \
  X(long long, PyLong_AsLongLong, (PyObject *))                                          \
  X(long long, PyLong_AsLongLongAndOverflow, (PyObject *, int *))                        \
  X(void *, PyLong_AsVoidPtr, (PyObject *))                                              \
  X(PyObject *, PyLong_FromLongLong, (long long))                                        \
  X(PyObject *, PyObject_Call, (PyObject *, PyObject *, PyObject *))                     \
  X(PyObject *, PyObject_CallFunctionObjArgs, (PyObject *, ...))                         \
  X(PyObject *, PyObject_CallMethodObjArgs, (PyObject *, PyObject *, ...))               \
  X(PyObject *, PyObject_CallNoArgs, (PyObject *))                                       \
  X(PyObject *, PyObject_GetAttr, (PyObject *, PyObject *))                              \
  X(PyObject *, PyObject_GetAttrString, (PyObject *, const char *))                      \
  X(PyObject *, PyObject_Type, (PyObject *))                                             \
  X(int, PySequence_Contains, (PyObject *, PyObject *))                                  \
  X(PyObject *, PyTuple_GetItem, (PyObject *, Size))                                     \
  X(PyObject *, PyTuple_Pack, (Size, ...))                                               \
  X(Size, PyTuple_Size, (PyObject *))                                                    \
  X(PyObject *, PyUnicode_InternFromString, (const char *))                              \
  X(PyObject *, Py_BuildValue, (const char *, ...))                                      \
  X(void, Py_DecRef, (PyObject *))                                                       \
  X(void, Py_IncRef, (PyObject *))

/// Objects that are there once for the process.
#define MOE_PYTHON_OBJECTS(X)                                                            \
  X(False, _Py_FalseStruct)                                                              \
  X(None, _Py_NoneStruct)                                                                \
  X(True, _Py_TrueStruct)                                                                \
  X(LongType, PyLong_Type)                                                               \
  X(StrType, PyUnicode_Type)

// NOLINTBEGIN(bugprone-macro-parentheses)
#define MOE_PYTHON_DECLARE(result, name, parameters) extern result(*name) parameters;
MOE_PYTHON_FUNCTIONS(MOE_PYTHON_DECLARE)
#undef MOE_PYTHON_DECLARE

#define MOE_PYTHON_DECLARE(name, symbol) extern PyObject *name;
MOE_PYTHON_OBJECTS(MOE_PYTHON_DECLARE)
#undef MOE_PYTHON_DECLARE
// NOLINTEND(bugprone-macro-parentheses)
/// The exception type.
extern PyObject *TypeError;

/// Looks everything up, with the GIL held. False in a process without a Python that has
/// it all.
bool findApi();

} // namespace moe::python

#endif // MOE_LIB_RUNTIME_PYTHONAPI_H
