//===- Binding.cpp - The entry's signature and its values -----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Checks of .npy files against the types of the entry function, and memref descriptors.
//
//===----------------------------------------------------------------------===//

#include "Binding.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::moe::run;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

// Pointers and sizes of a descriptor are handled as words of one size.
static_assert(sizeof(void *) == sizeof(int64_t), "expected a 64-bit host");

static std::optional<ElementFormat> getElementFormat(Type type) {
  if (type.isIndex())
    return ElementFormat{8, {"i8"}};
  if (auto integer = dyn_cast<IntegerType>(type)) {
    bool isUnsigned = integer.isUnsigned();
    switch (integer.getWidth()) {
    case 1:
      return ElementFormat{1, {"b1"}};
    case 8:
      return ElementFormat{1, {isUnsigned ? "u1" : "i1"}};
    case 16:
      return ElementFormat{2, {isUnsigned ? "u2" : "i2"}};
    case 32:
      return ElementFormat{4, {isUnsigned ? "u4" : "i4"}};
    case 64:
      return ElementFormat{8, {isUnsigned ? "u8" : "i8"}};
    }
    return std::nullopt;
  }
  // numpy has no bf16 and no f8. It stores those of ml_dtypes as raw bytes (V), and reads
  // them back only as integers.
  if (type.isBF16())
    return ElementFormat{2, {"u2", "V2"}};
  if (type.isF16())
    return ElementFormat{2, {"f2"}};
  if (type.isF32())
    return ElementFormat{4, {"f4"}};
  if (type.isF64())
    return ElementFormat{8, {"f8"}};
  if (auto floating = dyn_cast<FloatType>(type); floating && floating.getWidth() == 8)
    return ElementFormat{1, {"u1", "V1"}};
  return std::nullopt;
}

/// A dtype with its byte order, as numpy writes it.
static std::string formatDtype(StringRef dtype) {
  bool hasByteOrder = !dtype.starts_with("V") && !dtype.ends_with("1");
  return ((hasByteOrder ? "<" : "|") + dtype).str();
}

std::string moe::run::getWrittenDtype(const ElementFormat &element) {
  return formatDtype(element.dtypes.front());
}

static std::string formatType(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << '\'' << type << '\'';
  return text;
}

static std::optional<ValueSpec> getValueSpec(Type type) {
  ValueSpec spec;
  spec.type = type;
  if (auto tensor = dyn_cast<RankedTensorType>(type)) {
    if (tensor.getEncoding())
      return std::nullopt;
    spec.rank = tensor.getRank();
  } else if (auto memref = dyn_cast<MemRefType>(type)) {
    if (!memref.isStrided())
      return std::nullopt;
    spec.rank = memref.getRank();
  } else if (isa<ShapedType>(type)) {
    return std::nullopt;
  }
  std::optional<ElementFormat> element = getElementFormat(getElementTypeOrSelf(type));
  if (!element)
    return std::nullopt;
  spec.element = *element;
  return spec;
}

Expected<Signature> Signature::get(func::FuncOp entry) {
  Signature signature;
  auto collect = [&](StringRef what, TypeRange types,
                     SmallVectorImpl<ValueSpec> &specs) -> Error {
    for (auto [index, type] : llvm::enumerate(types)) {
      std::optional<ValueSpec> spec = getValueSpec(type);
      if (!spec)
        return createStringError(
            "entry '" + entry.getSymName() +
            "': expected a ranked tensor, a strided memref or a scalar of i1, i8, i16, "
            "i32, i64, index, f8, bf16, f16, f32 or f64 as " +
            what + " " + Twine(index) + ", found " + formatType(type));
      specs.push_back(std::move(*spec));
    }
    return Error::success();
  };
  if (Error error = collect("argument", entry.getArgumentTypes(), signature.params))
    return error;
  if (Error error = collect("result", entry.getResultTypes(), signature.results))
    return error;
  return signature;
}

/// Of a shape that checkDataSize has seen.
static SmallVector<int64_t> getContiguousStrides(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t dim = shape.size(); dim-- > 0; stride *= shape[dim])
    strides[dim] = stride;
  return strides;
}

static Error checkDtype(const ValueSpec &spec, StringRef found) {
  StringRef withoutByteOrder = found;
  if (!withoutByteOrder.consume_front("<"))
    withoutByteOrder.consume_front("|");
  if (llvm::is_contained(spec.element.dtypes, withoutByteOrder))
    return Error::success();
  auto accepted = llvm::map_range(spec.element.dtypes, formatDtype);
  return createStringError("expected dtype " + llvm::join(accepted, " or ") + " for " +
                           formatType(spec.type) + ", found " + found);
}

static Error checkShape(const ValueSpec &spec, ArrayRef<int64_t> found) {
  if (spec.rank.value_or(0) != static_cast<int64_t>(found.size()))
    return createStringError("expected rank " + Twine(spec.rank.value_or(0)) + " for " +
                             formatType(spec.type) + ", found shape " +
                             formatShape(found));
  if (!spec.rank)
    return Error::success();
  ArrayRef<int64_t> expected = cast<ShapedType>(spec.type).getShape();
  for (auto [dim, size] : llvm::enumerate(expected))
    if (ShapedType::isStatic(size) && size != found[dim])
      return createStringError("expected size " + Twine(size) + " in dimension " +
                               Twine(dim) + " of " + formatType(spec.type) +
                               ", found shape " + formatShape(found));
  return Error::success();
}

/// Compiled code takes static strides and offsets from the type, so those of the array,
/// which is contiguous, must not differ.
static Error checkLayout(const ValueSpec &spec, ArrayRef<int64_t> found) {
  auto memref = dyn_cast<MemRefType>(spec.type);
  if (!memref)
    return Error::success();
  auto [expected, offset] = memref.getStridesAndOffset();
  for (auto [dim, stride] : llvm::enumerate(expected))
    if (ShapedType::isStatic(stride) && stride != found[dim])
      return createStringError("expected stride " + Twine(stride) + " in dimension " +
                               Twine(dim) + " of " + formatType(spec.type) +
                               ", found a contiguous array with stride " +
                               Twine(found[dim]));
  if (ShapedType::isStatic(offset) && offset != 0)
    return createStringError("expected offset " + Twine(offset) + " of " +
                             formatType(spec.type) +
                             ", found a contiguous array with offset 0");
  return Error::success();
}

static Error checkDataSize(const ValueSpec &spec, const NpyFile &file) {
  // Strides have to fit even if there is a dimension of size 0.
  int64_t bytes = spec.element.bytes;
  for (int64_t size : file.shape)
    if (llvm::MulOverflow(bytes, std::max<int64_t>(size, 1), bytes))
      return createStringError("expected fewer than 2^63 bytes of data, found shape " +
                               formatShape(file.shape));
  if (llvm::is_contained(file.shape, 0))
    bytes = 0;
  if (bytes != static_cast<int64_t>(file.data.size()))
    return createStringError("expected " + Twine(bytes) + " bytes of data for shape " +
                             formatShape(file.shape) + ", found " +
                             Twine(file.data.size()));
  return Error::success();
}

Expected<Argument> Argument::create(const ValueSpec &spec, const NpyFile &file,
                                    Device device) {
  if (Error error = checkDtype(spec, file.dtype))
    return error;
  if (Error error = checkShape(spec, file.shape))
    return error;
  if (Error error = checkDataSize(spec, file))
    return error;
  SmallVector<int64_t> strides = getContiguousStrides(file.shape);
  if (Error error = checkLayout(spec, strides))
    return error;

  Argument argument(allocateMemory(device, file.data.size()));
  if (!argument.data)
    return createStringError("cannot allocate " + Twine(file.data.size()) + " bytes");
  argument.elementBytes = spec.element.bytes;
  argument.isScalar = !spec.rank;
  argument.shape = file.shape;
  argument.strides = std::move(strides);
  llvm::copy(file.data, argument.data.get());
  // Compiled code takes an i1 for 0 or 1; to NumPy every other byte is true as well.
  if (getElementTypeOrSelf(spec.type).isInteger(1))
    for (char &byte : MutableArrayRef(argument.data.get(), file.data.size()))
      byte = byte != 0;
  return argument;
}

void Argument::pack(SmallVectorImpl<void *> &params) {
  if (isScalar) {
    params.push_back(data.get());
    return;
  }
  // The pointer that was allocated, the aligned one, the offset, sizes and strides.
  auto address = reinterpret_cast<int64_t>(data.get());
  SmallVector<int64_t> words = {address, address, 0};
  llvm::append_range(words, shape);
  llvm::append_range(words, strides);
  descriptor = std::make_unique<int64_t[]>(words.size());
  llvm::copy(words, descriptor.get());
  for (size_t i = 0; i < words.size(); ++i)
    params.push_back(&descriptor[i]);
}

Results::Results(ArrayRef<ValueSpec> specs) : specs(specs) {
  size_t end = 0;
  for (const ValueSpec &spec : specs) {
    // Every type of the signature is aligned to its size, a descriptor to its words.
    size_t alignment = spec.rank ? sizeof(int64_t) : spec.element.bytes;
    size_t size = spec.rank ? spec.getNumLoweredParams() * sizeof(int64_t) : alignment;
    offsets.push_back(llvm::alignTo(end, alignment));
    end = offsets.back() + size;
  }
  storage = std::make_unique<int64_t[]>(llvm::divideCeil(end, sizeof(int64_t)));
}

void Results::pack(SmallVectorImpl<void *> &params) {
  if (!specs.empty())
    params.push_back(storage.get());
}

StridedArray Results::getArray(unsigned index) const {
  const ValueSpec &spec = specs[index];
  const char *value = reinterpret_cast<const char *>(storage.get()) + offsets[index];
  if (!spec.rank)
    return {value, spec.element.bytes, {}, {}};
  auto *words = reinterpret_cast<const int64_t *>(value);
  auto *aligned = reinterpret_cast<const char *>(words[1]);
  return {aligned + words[2] * spec.element.bytes, spec.element.bytes,
          ArrayRef(words + 3, *spec.rank), ArrayRef(words + 3 + *spec.rank, *spec.rank)};
}
