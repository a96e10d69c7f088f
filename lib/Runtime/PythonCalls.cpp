//===- PythonCalls.cpp - The ops as functions of Python -------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Calls with numbers, all that the C API's structures hold, and how Python gets these and
// those with tensors. Nothing here decides what an error says: what the runtime refuses
// is raised in Python.
//
//===----------------------------------------------------------------------===//

#include "PythonCalls.h"

#include "PythonEntry.h"

using namespace moe;
using namespace moe::python;

//===----------------------------------------------------------------------===//
// Calls
//===----------------------------------------------------------------------===//

static const char *const kEntryName = "moe_mlir.Entry";

/// The numbers that `call` takes for an operand.
static Size countNumbers(const OperandRow &row) {
  switch (row.form) {
  case kMatrixForm:
  case kPairsForm:
  case kIndicesForm:
    return 4;
  case kSizedVectorForm:
    return 2;
  case kScalesForm:
    return 5;
  default:
    return 1;
  }
}

static constexpr Size kLaunchNumbers = 4;

/// call(device, stream, expected_rows, flags, operands...); the MoeStatus. For each
/// operand of the op, in its order, with those that the options have: of a matrix its
/// address, rows, columns and row stride, less than 0 rows for none; of a vector with a
/// size both; of scales their address, size, row stride, layout and what dead ones are;
/// of a value the value; of all others their address, 0 for none.
static PyObject *call(PyObject *self, PyObject *const *arguments, Size count) {
  auto *entry = static_cast<Entry *>(PyCapsule_GetPointer(self, kEntryName));
  if (!entry)
    return nullptr;
  const OpRow &op = *entry->op;
  Size expected = kLaunchNumbers;
  for (int i = 0; i < op.numOperands; ++i)
    expected += countNumbers(op.operands[i]);
  if (!hasCount(count, expected))
    return nullptr;

  MoeLaunch launch = {};
  int device, flags;
  Reader readNext(arguments);
  if (!readNext(device, launch.stream, launch.expected_rows, flags))
    return nullptr;
  launch.device = MoeDevice(device);
  launch.flags = uint32_t(flags);

  MoeMatrix matrices[kMaxOperands];
  MoeVector vectors[kMaxOperands];
  int values[kMaxOperands];
  MoeScale scale = {};
  void *probs = nullptr;
  const void *pointers[kMaxOperands] = {};
  int numPointers = 0;
  for (int i = 0; i < op.numOperands; ++i) {
    const OperandRow &row = op.operands[i];
    const void *&pointer = pointers[numPointers];
    numPointers += row.form != kWeightForm;
    void *address;
    int layout, dead;
    if (row.form == kSizedVectorForm) {
      if (!readNext(vectors[i].data, vectors[i].size))
        return nullptr;
      pointer = &vectors[i];
    } else if (row.form == kScalesForm) {
      if (!readNext(scale.data, scale.size, scale.row_stride, layout, dead))
        return nullptr;
      scale.layout = MoeScaleLayout(layout);
      scale.dead = MoeDeadScales(dead);
      pointer = &scale;
    } else if (countNumbers(row) > 1) {
      MoeMatrix &matrix = matrices[i];
      if (!readNext(matrix.data, matrix.rows, matrix.columns, matrix.row_stride))
        return nullptr;
      pointer = matrix.rows < 0 ? nullptr : &matrix;
    } else if (isValue(row)) {
      if (!readNext(values[i]))
        return nullptr;
      pointer = &values[i];
    } else {
      if (!readNext(address))
        return nullptr;
      if (row.form == kWeightForm)
        probs = address;
      else
        pointer = address;
    }
  }
  return PyLong_FromLongLong(run(*entry, launch, pointers, probs));
}

//===----------------------------------------------------------------------===//
// Making the functions
//===----------------------------------------------------------------------===//

bool python::readEntry(PyObject *const *arguments, Entry &entry) {
  void *run, *op;
  int hasScales, deadRows, layout, limitAt, activation, indexType;
  MoeOptions options = {};
  MoeGate &gate = options.gate;
  if (!Reader(arguments)(run, op, hasScales, options.clamp_scale, deadRows, layout,
                         gate.block, gate.limit, limitAt, gate.alpha, gate.beta,
                         activation, indexType))
    return false;
  options.dead_rows = MoeDeadRows(deadRows);
  gate.layout = MoeGateLayout(layout);
  gate.limit_at = MoeLimitAt(limitAt);
  gate.activation = MoeGateActivation(activation);
  options.index_type = MoeIndexType(indexType);
  entry = {reinterpret_cast<decltype(&moeRunOpWithOptions)>(run),
           static_cast<const MoeOp *>(op), hasScales != 0, options};
  return true;
}

PyObject *python::makeCall(PyObject *, PyObject *const *arguments, Size count) {
  static MethodDef method = {"call", call, kFastCall, nullptr};
  if (!hasCount(count, kEntryArguments))
    return nullptr;
  auto *entry = allocate<Entry>();
  if (!entry)
    return nullptr;
  if (!readEntry(arguments, *entry)) {
    std::free(entry);
    return nullptr;
  }
  return makeFunction(entry, kEntryName, method);
}

PyObject *moeGetPythonCalls() {
  static MethodDef methods[] = {{"make_call", makeCall, kFastCall, nullptr},
                                {"make_tensor_call", makeTensorCall, kFastCall, nullptr}};
  if (!findApi())
    return nullptr;
  Ref calls(PyDict_New());
  for (MethodDef &method : methods) {
    Ref function(PyCFunction_NewEx(&method, nullptr, nullptr));
    if (!calls || !function ||
        PyDict_SetItemString(calls.get(), method.name, function.get()))
      return nullptr;
  }
  return calls.release();
}
