//===- check_python.cpp - Our declarations of Python against Python.h -----===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compiles if PythonApi.h agrees with the Python.h that is found, and Dlpack.h with the
// dlpack.h that PyTorch has, if that is found. test_runtime_library.py compiles it where
// there is a Python.h.
//
//===----------------------------------------------------------------------===//

#include <Python.h>

#include "Dlpack.h"
#include "PythonApi.h"

#include <type_traits>

using namespace moe;

static_assert(std::is_same_v<Py_ssize_t, python::Size>);
static_assert(python::kFastCall == METH_FASTCALL);
static_assert(sizeof(python::MethodDef) == sizeof(PyMethodDef));
static_assert(offsetof(python::MethodDef, name) == offsetof(PyMethodDef, ml_name));
static_assert(offsetof(python::MethodDef, function) == offsetof(PyMethodDef, ml_meth));
static_assert(offsetof(python::MethodDef, flags) == offsetof(PyMethodDef, ml_flags));
static_assert(offsetof(python::MethodDef, doc) == offsetof(PyMethodDef, ml_doc));

namespace theirs {

// Of what is a macro as well, the function.
#undef PyCFunction_NewEx
using MethodDef = PyMethodDef;
using Size = Py_ssize_t;
#define MOE_CHECK(result, name, parameters)                                              \
  static_assert(std::is_same_v<decltype(::name), result parameters>, #name);
MOE_PYTHON_FUNCTIONS(MOE_CHECK)
#undef MOE_CHECK

} // namespace theirs

// That they are there, and are objects.
PyObject *const objects[] = {
#define MOE_CHECK(name, symbol) reinterpret_cast<PyObject *>(&symbol),
    MOE_PYTHON_OBJECTS(MOE_CHECK)
#undef MOE_CHECK
        PyExc_TypeError};

#if __has_include(<ATen/dlpack.h>)
#include <ATen/dlpack.h>

static_assert(dlpack::kCpu == kDLCPU && dlpack::kCuda == kDLCUDA);
static_assert(sizeof(dlpack::Device) == sizeof(DLDevice));
static_assert(offsetof(dlpack::Device, index) == offsetof(DLDevice, device_id));
static_assert(sizeof(dlpack::DataType) == sizeof(DLDataType));
static_assert(offsetof(dlpack::DataType, bits) == offsetof(DLDataType, bits));
static_assert(offsetof(dlpack::DataType, lanes) == offsetof(DLDataType, lanes));
static_assert(sizeof(dlpack::Tensor) == sizeof(DLTensor));
static_assert(offsetof(dlpack::Tensor, device) == offsetof(DLTensor, device));
static_assert(offsetof(dlpack::Tensor, rank) == offsetof(DLTensor, ndim));
static_assert(offsetof(dlpack::Tensor, type) == offsetof(DLTensor, dtype));
static_assert(offsetof(dlpack::Tensor, shape) == offsetof(DLTensor, shape));
static_assert(offsetof(dlpack::Tensor, strides) == offsetof(DLTensor, strides));
static_assert(offsetof(dlpack::Tensor, byteOffset) == offsetof(DLTensor, byte_offset));
static_assert(sizeof(dlpack::Exchange) == sizeof(DLPackExchangeAPI));
static_assert(offsetof(dlpack::Exchange, major) ==
              offsetof(DLPackExchangeAPI, header.version.major));
static_assert(offsetof(dlpack::Exchange, lendFromPython) ==
              offsetof(DLPackExchangeAPI, dltensor_from_py_object_no_sync));
static_assert(offsetof(dlpack::Exchange, getCurrentStream) ==
              offsetof(DLPackExchangeAPI, current_work_stream));
static_assert(dlpack::kExchangeMajor == DLPACK_MAJOR_VERSION);
#endif
