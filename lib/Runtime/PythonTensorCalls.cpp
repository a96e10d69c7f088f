//===- PythonTensorCalls.cpp - The ops on tensors of Python ---------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A call with tensors looks whether there is anything about them or about the state that
// PyTorch is in that only its dispatcher, or a check with a message, can deal with, and
// if there is nothing, allocates the results and launches. It knows PyTorch by what
// Python programs do, as objects that _torch_direct.py hands over.
//
// Nothing here decides what an error says: what cannot be done is left to the caller, in
// Python, and what the runtime refuses is raised there.
//
//===----------------------------------------------------------------------===//

#include "Dlpack.h"
#include "PythonEntry.h"
#include <algorithm>
#include <initializer_list>

using namespace moe;
using namespace moe::python;

namespace {

/// What an op on rows takes. Without scales `scale` is not looked at.
struct Operands {
  MoeLaunch launch = {};
  MoeMatrix x = {};
  void *permutationMap = nullptr;
  void *numUsed = nullptr;
  void *probs = nullptr;
  MoeMatrix out = {};
  MoeScale scale = {};
};

MoeStatus run(const Entry &entry, const Operands &o) {
  const void *const pointers[] = {&o.x, o.permutationMap, o.numUsed, &o.out, &o.scale};
  return run(entry, o.launch, pointers, o.probs);
}

/// What _torch_direct.py hands over, as attributes of one object.
struct Environment {
  PyObject *tensorType;
  PyObject *parameterType;
  PyObject *exchange;
  PyObject *includedKeys;
  PyObject *plainKeys;
  PyObject *countFunctionModes;
  PyObject *countDispatchModes;
  PyObject *forwardAd;
  PyObject *isInferenceMode;
  PyObject *empty;
  PyObject *emptyOnCpu;
  PyObject *emptyOnCuda;
  PyObject *isDeterministic;
  PyObject *makeGuard;
  PyObject *incrementVersions;
  PyObject *currentDevice;
  PyObject *launch;
  PyObject *raiseLastError;
  PyObject *scaleLayouts;
  PyObject *deadScales;
  /// Attributes and methods of theirs, and of tensors.
  struct {
    PyObject *currentLevel;
    PyObject *device;
    PyObject *isInference;
    PyObject *isNeg;
    PyObject *rawRepr;
    PyObject *requiresGrad;
  } names;
  const dlpack::Exchange *api;

  bool fill(PyObject *from);
  bool knowsExchange() const {
    return api->major == dlpack::kExchangeMajor && api->lendFromPython &&
           api->getCurrentStream;
  }
};

bool Environment::fill(PyObject *from) {
  struct Field {
    const char *name;
    PyObject *&field;
  };
  Field attributes[] = {{"tensor_type", tensorType},
                        {"parameter_type", parameterType},
                        {"exchange", exchange},
                        {"included_keys", includedKeys},
                        {"plain_keys", plainKeys},
                        {"count_function_modes", countFunctionModes},
                        {"count_dispatch_modes", countDispatchModes},
                        {"forward_ad", forwardAd},
                        {"is_inference_mode", isInferenceMode},
                        {"empty", empty},
                        {"empty_on_cpu", emptyOnCpu},
                        {"empty_on_cuda", emptyOnCuda},
                        {"is_deterministic", isDeterministic},
                        {"make_guard", makeGuard},
                        {"increment_versions", incrementVersions},
                        {"current_device", currentDevice},
                        {"launch", launch},
                        {"raise_last_error", raiseLastError},
                        {"scale_layouts", scaleLayouts},
                        {"dead_scales", deadScales}};
  for (auto [name, field] : attributes) {
    field = PyObject_GetAttrString(from, name);
    if (!field)
      return false;
  }
  Field strings[] = {{"_current_level", names.currentLevel},
                     {"device", names.device},
                     {"is_inference", names.isInference},
                     {"is_neg", names.isNeg},
                     {"raw_repr", names.rawRepr},
                     {"requires_grad", names.requiresGrad}};
  for (auto [name, field] : strings) {
    field = PyUnicode_InternFromString(name);
    if (!field)
      return false;
  }
  api = static_cast<const dlpack::Exchange *>(
      PyCapsule_GetPointer(exchange, dlpack::kExchangeName));
  return api != nullptr;
}

/// The type of an element, as one number.
uint32_t pack(dlpack::DataType type) {
  return type.code | uint32_t(type.bits) << 8 | uint32_t(type.lanes) << 16;
}
constexpr uint32_t makeType(int code, int bits) { return code | bits << 8 | 1 << 16; }
constexpr uint32_t kBF16 = makeType(4, 16), kInt32 = makeType(0, 32),
                   kFloat32 = makeType(2, 32);

constexpr int kMaxOutputs = 2;
/// x, permutation_map, n_used and probs.
constexpr int kNumInputs = 4;

/// Of an earlier call in which nothing was special. It passes tensors that are as those
/// were in all that dispatches them: their types, keys and devices, requires_grad, and
/// the keys that the state adds, but for those of Python modes, which are counted. One
/// question in the place of a dozen.
struct Guard {
  /// A function of the tensors, null for none.
  PyObject *check;
  int numMade;
};

/// With a map or not, with factors or not, for three kinds of outputs.
constexpr int kNumGuards = 2 * 2 * 3;
/// In a program that has calls of two kinds in turns there is no end of guards that are
/// of the other kind. It gets the questions.
constexpr int kMostGuards = 8;

/// The arguments by which an output was allocated last, which are made anew for another
/// shape only.
struct Allocation {
  int64_t rows, columns;
  PyObject *arguments;
};

/// An op on tensors. Made once, and kept as long as the process.
struct TensorOp {
  Entry entry;
  Environment torch;
  /// `call` of the same entry.
  PyObject *call;
  /// That each output may have; 0 for no second one.
  uint32_t types[kMaxOutputs][2];
  /// Of PyTorch, for each output that is made.
  PyObject *dtypes[kMaxOutputs];
  Allocation allocations[kMaxOutputs];
  bool isMapOptional;
  Guard guards[kNumGuards];
};

/// A call in progress.
class TensorCall {
public:
  explicit TensorCall(TensorOp &op) : op(op), torch(op.torch) {}

  /// Whether all is as it should be, and nothing special. Then there are outputs.
  bool prepare(PyObject *const *arguments);
  /// Launches; what the call returns.
  PyObject *finish();

private:
  bool askGuard(PyObject *const *inputs, PyObject *const *outs);
  void makeGuard();
  bool isPlainState();
  bool findDevice();
  bool readInputs(PyObject *x, PyObject *permutationMap, PyObject *numUsed,
                  PyObject *probs);
  bool readModes(PyObject *layout, PyObject *dead);
  bool readHints(PyObject *expectedRows, PyObject *programmaticLaunch);
  bool readOutputs(PyObject *const *objects);
  Ref getAllocation(int number, int64_t rows, int64_t columns);
  bool makeOutput(PyObject *x, int number, int64_t rows, int64_t columns, void *&data);
  bool makeOutputs(PyObject *x);

  Ref get(PyObject *object, PyObject *name) {
    return Ref(PyObject_GetAttr(object, name));
  }
  Ref callMethod(PyObject *object, PyObject *name) {
    return Ref(PyObject_CallMethodObjArgs(object, name, nullptr));
  }
  Ref callFunction(PyObject *function) { return Ref(PyObject_CallNoArgs(function)); }
  bool isCuda() const { return device.type == dlpack::kCuda; }

  /// Whether what is written to `tensor` has no gradient.
  bool isDetached(PyObject *tensor) {
    return isGuarded || get(tensor, torch.names.requiresGrad).get() == False;
  }
  /// Reads a tensor that is no more than its memory.
  bool readPlain(PyObject *object, dlpack::Tensor &tensor);
  /// Reads one where x is.
  bool readBesideX(PyObject *object, dlpack::Tensor &tensor);
  bool readOutput(PyObject *object, int number, int rank, dlpack::Tensor &tensor);
  bool launch();
  bool launchElsewhere();

  TensorOp &op;
  const Environment &torch;
  Operands operands;
  /// Of the outputs.
  int64_t rows = 0, columns = 0;
  dlpack::Device device = {};
  Ref outputs[kMaxOutputs];
  bool isGiven = false;
  /// That for such a call, the tensors that it compares, and whether it has passed them.
  Guard *guard = nullptr;
  PyObject *tensors[kNumInputs + kMaxOutputs] = {};
  bool isGuarded = false;
  /// Or on the CPU.
  bool isOnCurrentDevice = true;
};

} // namespace

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

bool TensorCall::askGuard(PyObject *const *inputs, PyObject *const *outs) {
  int numOutputs = 0, kind = 0;
  if (*outs != None) {
    // The keys that inference mode takes from tensors are those that its own lack, so
    // keys alone do not tell one of its tensors, which may not be written to outside of
    // it.
    Ref isInference = callFunction(torch.isInferenceMode);
    if (!isInference)
      return false;
    kind = isInference.get() == False ? 1 : 2;
    numOutputs = op.entry.hasScales ? 2 : 1;
  }
  int count = 0;
  for (int i = 0; i < kNumInputs; ++i)
    if (inputs[i] != None)
      tensors[count++] = inputs[i];
  for (int i = 0; i < numOutputs; ++i)
    tensors[count++] = outs[i];
  guard = &op.guards[(kind * 2 + (inputs[1] != None)) * 2 + (inputs[3] != None)];
  if (!guard->check)
    return true;
  Ref passed(PyObject_CallFunctionObjArgs(guard->check, tensors[0], tensors[1],
                                          tensors[2], tensors[3], tensors[4], tensors[5],
                                          nullptr));
  isGuarded = passed.get() == True;
  if (!passed)
    PyErr_Clear();
  return true;
}

void TensorCall::makeGuard() {
  if (torch.makeGuard == None || guard->numMade == kMostGuards)
    return;
  ++guard->numMade;
  PyObject *check =
      PyObject_CallFunctionObjArgs(torch.makeGuard, tensors[0], tensors[1], tensors[2],
                                   tensors[3], tensors[4], tensors[5], nullptr);
  // That before is never freed: another thread may be calling it.
  if (check)
    guard->check = check;
  else
    PyErr_Clear();
}

bool TensorCall::isPlainState() {
  int64_t functionModes, dispatchModes, level;
  if (!read(callFunction(torch.countFunctionModes), functionModes) ||
      !read(callFunction(torch.countDispatchModes), dispatchModes) ||
      functionModes + dispatchModes != 0 ||
      !read(get(torch.forwardAd, torch.names.currentLevel), level) || level >= 0)
    return false;
  if (isGuarded)
    return true;
  Ref keys = callFunction(torch.includedKeys);
  if (!keys)
    return false;
  Ref raw = callMethod(keys.get(), torch.names.rawRepr);
  return raw && PySequence_Contains(torch.plainKeys, raw.get()) == 1;
}

bool TensorCall::readPlain(PyObject *object, dlpack::Tensor &tensor) {
  if (!isGuarded) {
    Ref type(PyObject_Type(object));
    if ((type.get() != torch.tensorType && type.get() != torch.parameterType) ||
        callMethod(object, torch.names.isNeg).get() != False)
      return false;
  }
  return torch.api->lendFromPython(object, &tensor) == 0 && tensor.data;
}

bool TensorCall::readBesideX(PyObject *object, dlpack::Tensor &tensor) {
  return readPlain(object, tensor) && tensor.device.type == device.type &&
         tensor.device.index == device.index;
}

/// Takes over the rows of a tensor of rank 2, if their elements are consecutive.
static bool takeRows(const dlpack::Tensor &tensor, MoeMatrix &matrix) {
  matrix.data = static_cast<char *>(tensor.data) + tensor.byteOffset;
  matrix.rows = tensor.shape[0];
  matrix.columns = tensor.shape[1];
  matrix.row_stride = tensor.strides[0];
  return tensor.strides[1] == 1 || matrix.columns <= 1;
}

/// Likewise the elements of a tensor of rank 1 or 0, of which there should be `count`.
static bool takeElements(const dlpack::Tensor &tensor, int64_t count, void *&data) {
  data = static_cast<char *>(tensor.data) + tensor.byteOffset;
  if (tensor.rank == 0)
    return count == 1;
  return tensor.shape[0] == count && (tensor.strides[0] == 1 || count <= 1);
}

/// Whether the op has a kernel without a map.
static bool isMapOptional(const MoeOp &op) {
  for (int i = 0; i < op.numOperands; ++i)
    if (op.operands[i].form == kVectorForm && op.operands[i].isOptional)
      return true;
  return false;
}

bool TensorCall::readInputs(PyObject *x, PyObject *permutationMap, PyObject *numUsed,
                            PyObject *probs) {
  dlpack::Tensor tensor;
  if (!readPlain(x, tensor))
    return false;
  device = tensor.device;
  if ((!isCuda() && device.type != dlpack::kCpu) || tensor.rank != 2 ||
      pack(tensor.type) != kBF16 || !takeRows(tensor, operands.x) || !isDetached(x))
    return false;
  int64_t parts = op.entry.numParts();
  columns = operands.x.columns / parts;
  if (operands.x.columns % parts != 0)
    return false;
  rows = operands.x.rows;
  auto readRows = [&](PyObject *object, uint32_t type, void *&data) {
    return readBesideX(object, tensor) && tensor.rank == 1 && pack(tensor.type) == type &&
           takeElements(tensor, rows, data);
  };
  if (op.entry.gathers()) {
    if (!readBesideX(permutationMap, tensor) || tensor.rank != 1)
      return false;
    rows = tensor.shape[0];
  }
  if (permutationMap == None ? !op.isMapOptional
                             : !readRows(permutationMap, kInt32, operands.permutationMap))
    return false;
  if (probs != None && (!readRows(probs, kFloat32, operands.probs) || !isDetached(probs)))
    return false;
  return readBesideX(numUsed, tensor) && tensor.rank <= 1 &&
         pack(tensor.type) == kInt32 && takeElements(tensor, 1, operands.numUsed);
}

bool TensorCall::findDevice() {
  if (!isCuda())
    return true;
  operands.launch.device = MOE_CUDA;
  int64_t current;
  if (!read(callFunction(torch.currentDevice), current))
    return false;
  isOnCurrentDevice = current == device.index;
  return true;
}

bool TensorCall::readModes(PyObject *layout, PyObject *dead) {
  if (!hasType(layout, StrType) || !hasType(dead, StrType))
    return false;
  PyObject *layoutNumber = PyDict_GetItemWithError(torch.scaleLayouts, layout);
  PyObject *deadNumber = PyDict_GetItemWithError(torch.deadScales, dead);
  int64_t numbers[2];
  if (!layoutNumber || !deadNumber || !read(layoutNumber, numbers[0]) ||
      !read(deadNumber, numbers[1]))
    return false;
  operands.scale.layout = MoeScaleLayout(numbers[0]);
  operands.scale.dead = MoeDeadScales(numbers[1]);
  return columns % kGroupSize == 0 && getScaleSize(rows, columns, operands.scale.layout,
                                                   operands.scale.size) == MOE_SUCCESS;
}

bool TensorCall::readHints(PyObject *expectedRows, PyObject *programmaticLaunch) {
  // As _hints.py does.
  if (programmaticLaunch == True)
    operands.launch.flags = MOE_PROGRAMMATIC_LAUNCH;
  else if (programmaticLaunch != False)
    return false;
  if (expectedRows == None)
    return true;
  if (!hasType(expectedRows, LongType))
    return false;
  int overflow;
  int64_t rows = PyLong_AsLongLongAndOverflow(expectedRows, &overflow);
  if (overflow < 0 || (overflow == 0 && rows < 0))
    return false;
  operands.launch.expected_rows = overflow ? INT64_MAX : std::max<int64_t>(rows, 1);
  return true;
}

bool TensorCall::readOutput(PyObject *object, int number, int rank,
                            dlpack::Tensor &tensor) {
  if (!readBesideX(object, tensor) || tensor.rank != rank)
    return false;
  uint32_t type = pack(tensor.type);
  if ((type != op.types[number][0] && type != op.types[number][1]) || !isDetached(object))
    return false;
  Py_IncRef(object);
  outputs[number] = Ref(object);
  if (isGuarded)
    return true;
  // Outside of inference mode PyTorch refuses to write to its tensors.
  Ref isInference = callMethod(object, torch.names.isInference);
  return isInference && (isInference.get() == False ||
                         callFunction(torch.isInferenceMode).get() == True);
}

bool TensorCall::readOutputs(PyObject *const *objects) {
  isGiven = true;
  MoeMatrix &out = operands.out;
  dlpack::Tensor tensor;
  if (!readOutput(objects[0], 0, 2, tensor) || !takeRows(tensor, out) ||
      out.rows != rows || out.columns != columns)
    return false;
  if (!op.entry.hasScales)
    return true;
  MoeScale &scale = operands.scale;
  bool isLinear = scale.layout == MOE_SCALE_LINEAR;
  if (!readOutput(objects[1], 1, isLinear ? 2 : 1, tensor))
    return false;
  if (!isLinear)
    return takeElements(tensor, scale.size, scale.data);
  MoeMatrix rows;
  if (!takeRows(tensor, rows) || rows.rows != out.rows ||
      rows.columns != out.columns / kGroupSize)
    return false;
  scale.data = rows.data;
  scale.row_stride = rows.row_stride;
  scale.size = (rows.rows - 1) * rows.row_stride + rows.columns;
  return true;
}

/// `columns` is 0 for what has no rows.
Ref TensorCall::getAllocation(int number, int64_t rows, int64_t columns) {
  Allocation &last = op.allocations[number];
  if (!last.arguments || last.rows != rows || last.columns != columns) {
    long long m = rows, n = columns;
    PyObject *dtype = op.dtypes[number];
    PyObject *made = n ? Py_BuildValue("(LL)(LL)O", m, n, n, 1LL, dtype)
                       : Py_BuildValue("(L)(L)O", m, 1LL, dtype);
    if (!made)
      return Ref();
    Ref before(last.arguments);
    last = {rows, columns, made};
  }
  Py_IncRef(last.arguments);
  return Ref(last.arguments);
}

/// Allocates around the dispatcher, as code does that PyTorch generates. That is on the
/// current device, and leaves the memory as it was, which it may not where a program has
/// asked for deterministic algorithms.
bool TensorCall::makeOutput(PyObject *x, int number, int64_t rows, int64_t columns,
                            void *&data) {
  Ref isDeterministic = callFunction(torch.isDeterministic);
  Ref arguments = getAllocation(number, rows, columns);
  if (!isDeterministic || !arguments)
    return false;
  if (isOnCurrentDevice && isDeterministic.get() == False) {
    PyObject *direct = isCuda() ? torch.emptyOnCuda : torch.emptyOnCpu;
    outputs[number] = Ref(PyObject_Call(direct, arguments.get(), nullptr));
  } else {
    Ref place = get(x, torch.names.device);
    Ref keywords(
        place ? Py_BuildValue("{sOsO}", "dtype", op.dtypes[number], "device", place.get())
              : nullptr);
    if (!keywords)
      return false;
    outputs[number] = Ref(
        PyObject_Call(torch.empty, PyTuple_GetItem(arguments.get(), 0), keywords.get()));
  }
  dlpack::Tensor made;
  PyObject *output = outputs[number].get();
  if (!output || torch.api->lendFromPython(output, &made))
    return false;
  data = static_cast<char *>(made.data) + made.byteOffset;
  return true;
}

bool TensorCall::makeOutputs(PyObject *x) {
  MoeMatrix &out = operands.out;
  out.rows = rows;
  out.columns = out.row_stride = columns;
  if (!makeOutput(x, 0, rows, columns, out.data))
    return false;
  if (!op.entry.hasScales)
    return true;
  MoeScale &scale = operands.scale;
  bool isLinear = scale.layout == MOE_SCALE_LINEAR;
  return makeOutput(x, 1, isLinear ? rows : scale.size,
                    isLinear ? columns / kGroupSize : 0, scale.data);
}

bool TensorCall::prepare(PyObject *const *arguments) {
  PyObject *const *inputs = arguments, *const *modes = inputs + kNumInputs,
                  *const *hints = modes + (op.entry.hasScales ? 2 : 0),
                  *const *outs = hints + 2;
  bool isPrepared = askGuard(inputs, outs) && isPlainState() &&
                    readInputs(inputs[0], inputs[1], inputs[2], inputs[3]) &&
                    (!op.entry.hasScales || readModes(modes[0], modes[1])) &&
                    readHints(hints[0], hints[1]) && findDevice() &&
                    (*outs == None ? makeOutputs(inputs[0]) : readOutputs(outs));
  if (isPrepared && !isGuarded)
    makeGuard();
  return isPrepared;
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

/// Leaves it to Python, which knows how to make another device or a context current, and
/// which stream is.
bool TensorCall::launchElsewhere() {
  const Operands &o = operands;
  auto address = [](const void *data) {
    return int64_t(reinterpret_cast<uintptr_t>(data));
  };
  Ref arguments(PyList_New(0));
  auto add = [&](std::initializer_list<int64_t> numbers) {
    for (int64_t number : numbers) {
      Ref object(PyLong_FromLongLong(number));
      if (!object || PyList_Append(arguments.get(), object.get()))
        return false;
    }
    return true;
  };
  bool isMade = arguments && PyList_Append(arguments.get(), op.call) == 0 &&
                add({device.index, o.launch.expected_rows, o.launch.flags,
                     address(o.x.data), o.x.rows, o.x.columns, o.x.row_stride,
                     address(o.permutationMap), address(o.numUsed)});
  if (isMade && op.entry.takesProbs())
    isMade = add({address(o.probs)});
  isMade =
      isMade && add({address(o.out.data), o.out.rows, o.out.columns, o.out.row_stride});
  if (isMade && op.entry.hasScales)
    isMade = add({address(o.scale.data), o.scale.size, o.scale.row_stride, o.scale.layout,
                  o.scale.dead});
  if (!isMade)
    return false;
  Ref tuple(PyList_AsTuple(arguments.get()));
  return tuple && Ref(PyObject_Call(torch.launch, tuple.get(), nullptr));
}

bool TensorCall::launch() {
  if (isCuda()) {
    if (!isOnCurrentDevice)
      return launchElsewhere();
    if (torch.api->getCurrentStream(device.type, device.index, &operands.launch.stream)) {
      // A PyTorch whose exchange has none for this device. Python knows it otherwise.
      PyErr_Clear();
      return launchElsewhere();
    }
  }
  MoeStatus status = run(op.entry, operands);
  if (status == MOE_SUCCESS)
    return true;
  if (status == MOE_NO_CONTEXT)
    return launchElsewhere();
  Ref number(PyLong_FromLongLong(status));
  Ref nothing(PyObject_CallFunctionObjArgs(torch.raiseLastError, number.get(), nullptr));
  return false;
}

PyObject *TensorCall::finish() {
  if (!launch())
    return nullptr;
  if (!op.entry.hasScales && !isGiven)
    return outputs[0].release();
  Ref all(op.entry.hasScales ? PyTuple_Pack(2, outputs[0].get(), outputs[1].get())
                             : PyTuple_Pack(1, outputs[0].get()));
  if (!all)
    return nullptr;
  if (isGiven &&
      !Ref(PyObject_CallFunctionObjArgs(torch.incrementVersions, all.get(), nullptr)))
    return nullptr;
  return op.entry.hasScales ? all.release() : outputs[0].release();
}

static const char *const kTensorOpName = "moe_mlir.TensorOp";

/// tensor_call(x, permutation_map, n_used, probs, expected_rows, programmatic_launch,
/// out), or (x, permutation_map, n_used, probs, scale_layout, dead_scales, expected_rows,
/// programmatic_launch, data, scale) with scales, where None for an output is a new one.
/// The outputs, or None if nothing was done.
static PyObject *callWithTensors(PyObject *self, PyObject *const *arguments, Size count) {
  auto *op = static_cast<TensorOp *>(PyCapsule_GetPointer(self, kTensorOpName));
  if (!op)
    return nullptr;
  if (!hasCount(count, op->entry.hasScales ? 10 : 7))
    return nullptr;
  TensorCall call(*op);
  if (call.prepare(arguments))
    return call.finish();
  // Whatever it was, the long way meets it too.
  PyErr_Clear();
  return makeNone();
}

//===----------------------------------------------------------------------===//
// Making the functions
//===----------------------------------------------------------------------===//

/// Reads a tuple of one or two pairs of a type code of DLPack and bits.
static bool readTypes(PyObject *tuple, uint32_t (&types)[2]) {
  Size count = tuple ? PyTuple_Size(tuple) : 0;
  for (Size i = 0; i < std::min<Size>(count, 2); ++i) {
    PyObject *pair = PyTuple_GetItem(tuple, i);
    int code, bits;
    PyObject *first = PyTuple_GetItem(pair, 0), *second = PyTuple_GetItem(pair, 1);
    if (!first || !second || !read(first, code) || !read(second, bits))
      return false;
    types[i] = makeType(code, bits);
  }
  return count > 0;
}

PyObject *python::makeTensorCall(PyObject *, PyObject *const *arguments, Size count) {
  static MethodDef method = {"tensor_call", callWithTensors, kFastCall, nullptr};
  if (!hasCount(count, kEntryArguments + 4))
    return nullptr;
  auto *op = allocate<TensorOp>();
  if (!op)
    return nullptr;
  bool isRead = readEntry(arguments, op->entry);
  arguments += kEntryArguments;
  isRead = isRead && op->torch.fill(arguments[1]);
  for (int i = 0; isRead && i <= int(op->entry.hasScales); ++i)
    isRead = readTypes(PyTuple_GetItem(arguments[2], i), op->types[i]) &&
             (op->dtypes[i] = PyTuple_GetItem(arguments[3], i));
  if (!isRead || !op->torch.knowsExchange()) {
    std::free(op);
    return isRead ? makeNone() : nullptr;
  }
  op->call = arguments[0];
  op->isMapOptional = isMapOptional(*op->entry.op);
  for (PyObject *kept : {op->call, arguments[3]})
    Py_IncRef(kept);
  return makeFunction(op, kTensorOpName, method);
}
