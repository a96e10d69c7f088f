//===- PythonEntry.h - What the functions for Python share ------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// References and numbers of Python, and an op as a function of Python has it.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_PYTHONENTRY_H
#define MOE_LIB_RUNTIME_PYTHONENTRY_H

#include "Problem.h"
#include "PythonApi.h"
#include <cstdlib>
#include <cstring>
#include <utility>

namespace moe::python {

//===----------------------------------------------------------------------===//
// References
//===----------------------------------------------------------------------===//

/// An owned reference, or null where making one raised an exception.
class Ref {
public:
  Ref() = default;
  /// Takes over what a function returned.
  explicit Ref(PyObject *object) : object(object) {}
  Ref(Ref &&other) noexcept : object(other.release()) {}
  Ref &operator=(Ref &&other) noexcept {
    std::swap(object, other.object);
    return *this;
  }
  ~Ref() {
    if (object)
      Py_DecRef(object);
  }

  explicit operator bool() const { return object != nullptr; }
  PyObject *get() const { return object; }
  PyObject *release() {
    PyObject *released = object;
    object = nullptr;
    return released;
  }

private:
  PyObject *object = nullptr;
};

inline PyObject *makeNone() {
  Py_IncRef(None);
  return None;
}

inline bool hasType(PyObject *object, PyObject *type) {
  return Ref(PyObject_Type(object)).get() == type;
}

/// The number that `object` is; false, with an exception, if it is none.
inline bool read(PyObject *object, int64_t &value) {
  value = PyLong_AsLongLong(object);
  return value != -1 || !PyErr_Occurred();
}

inline bool read(PyObject *object, void *&value) {
  value = PyLong_AsVoidPtr(object);
  return value || !PyErr_Occurred();
}

inline bool read(PyObject *object, int &value) {
  int64_t wide;
  if (!read(object, wide))
    return false;
  value = int(wide);
  return true;
}

/// One of 32 bits by these.
inline bool read(PyObject *object, float &value) {
  int64_t wide;
  if (!read(object, wide))
    return false;
  uint32_t bits = uint32_t(wide);
  std::memcpy(&value, &bits, sizeof(value));
  return true;
}

template <typename T> bool read(const Ref &object, T &value) {
  return object && read(object.get(), value);
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

/// An op with its options, but for what is an array among them, and the function that
/// runs it.
struct Entry {
  decltype(&moeRunOpWithOptions) run;
  const MoeOp *op;
  bool hasScales;
  MoeOptions options;

  /// Columns of x for each of the outputs.
  int64_t numParts() const { return op->operands[0].form == kPairsForm ? 2 : 1; }
  /// Whether rows of the outputs are those that the map says, of other rows of x.
  bool gathers() const { return op->operands[0].extents[0] != kRowsExtent; }
  bool takesProbs() const {
    for (int i = 0; i < op->numOperands; ++i)
      if (op->operands[i].form == kWeightForm)
        return true;
    return false;
  }
};

/// Makes the call. Other threads may go on meanwhile: the kernels may have to be loaded,
/// the stream's queue may be full, and on the CPU this is all the work.
inline MoeStatus run(const Entry &entry, const MoeLaunch &launch,
                     const void *const *pointers, const void *probs) {
  MoeOptions options = entry.options;
  options.probs = static_cast<const float *>(probs);
  PyThreadState *state = PyEval_SaveThread();
  MoeStatus status =
      entry.run(&launch, entry.op, pointers, countArguments(*entry.op), &options);
  PyEval_RestoreThread(state);
  return status;
}

constexpr Size kEntryArguments = 13;

/// Reads run_op, op and has_scales, and then clamp_scale, dead_rows, the members of
/// MoeGate, and index_type; floats are given by their bits.
bool readEntry(PyObject *const *arguments, Entry &entry);

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

/// Only the package calls these functions.
inline bool hasCount(Size found, Size expected) {
  if (found != expected)
    PyErr_SetString(TypeError, "expected another number of arguments");
  return found == expected;
}

/// Reads the arguments of a call with numbers, one after another.
class Reader {
public:
  explicit Reader(PyObject *const *arguments) : next(arguments) {}
  template <typename... T> bool operator()(T &...values) {
    return (read(*next++, values) && ...);
  }

private:
  PyObject *const *next;
};

/// A function that has `state` as its own, which goes with it only if it is not made.
template <typename State>
PyObject *makeFunction(State *state, const char *name, MethodDef &method) {
  Ref capsule(PyCapsule_New(state, name, nullptr));
  PyObject *function =
      capsule ? PyCFunction_NewEx(&method, capsule.get(), nullptr) : nullptr;
  if (!function)
    std::free(state);
  return function;
}

template <typename State> State *allocate() {
  auto *state = static_cast<State *>(std::calloc(1, sizeof(State)));
  if (!state)
    PyErr_NoMemory();
  return state;
}

/// make_call(run_op, op, has_scales, options...): what calls the op with numbers, by the
/// function at run_op. In PythonCalls.cpp.
PyObject *makeCall(PyObject *, PyObject *const *arguments, Size count);

/// make_tensor_call(run_op, op, has_scales, options..., call, environment, types,
/// dtypes): what calls it with tensors; None where tensors are exchanged in a way that is
/// not known here. In PythonTensorCalls.cpp.
PyObject *makeTensorCall(PyObject *, PyObject *const *arguments, Size count);

} // namespace moe::python

#endif // MOE_LIB_RUNTIME_PYTHONENTRY_H
