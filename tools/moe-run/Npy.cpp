//===- Npy.cpp - Arrays in .npy files -------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The format is that of numpy.lib.format: a magic string, a version, the length of the
// header, the header as a Python dictionary, the elements.
//
//===----------------------------------------------------------------------===//

#include "Npy.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <optional>

using namespace mlir;
using namespace mlir::moe::run;
using llvm::createStringError;
using llvm::Expected;

static constexpr StringLiteral kMagic = "\x93NUMPY";

/// What Python skips.
static constexpr StringLiteral kWhitespace = " \t\n\r\f";

/// NumPy has no array of more dimensions.
static constexpr size_t kMaxRank = 64;

namespace {

/// Parses what numpy writes between the braces, and no more of Python than that.
class HeaderParser {
public:
  explicit HeaderParser(StringRef text) : rest(text) {}

  bool parse(NpyFile &file, bool &fortranOrder) {
    bool hasDtype = false, hasOrder = false, hasShape = false;
    if (!consume('{'))
      return false;
    while (!consume('}')) {
      std::optional<StringRef> key = parseString();
      if (!key || !consume(':'))
        return false;
      bool *found = StringSwitch<bool *>(*key)
                        .Case("descr", &hasDtype)
                        .Case("fortran_order", &hasOrder)
                        .Case("shape", &hasShape)
                        .Default(nullptr);
      // A key that comes twice would mean one thing here and another in Python.
      if (!found || *found)
        return false;
      *found = found == &hasDtype   ? parseDtype(file.dtype)
               : found == &hasOrder ? parseBool(fortranOrder)
                                    : parseShape(file.shape);
      if (!*found)
        return false;
      if (!consume(',') && !rest.ltrim(kWhitespace).starts_with("}"))
        return false;
    }
    return hasDtype && hasOrder && hasShape && rest.trim(kWhitespace).empty();
  }

private:
  bool consume(char c) {
    rest = rest.ltrim(kWhitespace);
    return rest.consume_front(StringRef(&c, 1));
  }

  std::optional<StringRef> parseString() {
    rest = rest.ltrim(kWhitespace);
    if (rest.empty() || (rest.front() != '\'' && rest.front() != '"'))
      return std::nullopt;
    size_t end = rest.find(rest.front(), 1);
    if (end == StringRef::npos)
      return std::nullopt;
    StringRef text = rest.slice(1, end);
    // Python would read these as something else.
    if (text.find_first_of("\\\n\r") != StringRef::npos)
      return std::nullopt;
    rest = rest.drop_front(end + 1);
    return text;
  }

  bool parseDtype(std::string &dtype) {
    std::optional<StringRef> text = parseString();
    if (text)
      dtype = text->str();
    return text.has_value();
  }

  bool parseBool(bool &value) {
    rest = rest.ltrim(kWhitespace);
    value = rest.starts_with("True");
    return rest.consume_front("True") || rest.consume_front("False");
  }

  bool parseShape(SmallVectorImpl<int64_t> &shape) {
    if (!consume('('))
      return false;
    bool endsInComma = false;
    while (!consume(')')) {
      int64_t size;
      rest = rest.ltrim(kWhitespace);
      // Python has no decimal number with a 0 before it.
      if (shape.size() == kMaxRank || rest.empty() || !llvm::isDigit(rest.front()) ||
          (rest.size() > 1 && rest[0] == '0' && llvm::isDigit(rest[1])) ||
          rest.consumeInteger(10, size))
        return false;
      shape.push_back(size);
      endsInComma = consume(',');
      if (!endsInComma && !rest.ltrim(kWhitespace).starts_with(")"))
        return false;
    }
    // In Python (2) is a number and no tuple.
    return shape.size() != 1 || endsInComma;
  }

  StringRef rest;
};

} // namespace

static std::string escape(StringRef text) {
  std::string escaped;
  llvm::raw_string_ostream os(escaped);
  llvm::printEscapedString(text.take_front(100), os);
  return escaped;
}

Expected<NpyFile> moe::run::readNpy(StringRef path) {
  // A device may have no end.
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(path, status) &&
      status.type() != llvm::sys::fs::file_type::regular_file &&
      status.type() != llvm::sys::fs::file_type::fifo_file)
    return createStringError(
        Twine("expected a regular file or a pipe, found something else"));
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return createStringError("cannot read the file: " + buffer.getError().message());
  StringRef text = (*buffer)->getBuffer();
  if (!text.consume_front(kMagic) || text.size() < 2)
    return createStringError(Twine("expected an .npy file, found other content"));
  int major = static_cast<unsigned char>(text[0]);
  int minor = static_cast<unsigned char>(text[1]);
  if ((major != 1 && major != 2) || minor != 0)
    return createStringError("expected version 1.0 or 2.0 of the .npy format, found " +
                             Twine(major) + "." + Twine(minor));
  text = text.drop_front(2);

  size_t lengthBytes = major == 1 ? 2 : 4;
  if (text.size() < lengthBytes)
    return createStringError(
        Twine("expected the length of a header, found the file's end"));
  size_t length = major == 1 ? llvm::support::endian::read16le(text.data())
                             : llvm::support::endian::read32le(text.data());
  text = text.drop_front(lengthBytes);
  if (text.size() < length)
    return createStringError("expected a header of " + Twine(length) + " bytes, found " +
                             Twine(text.size()));

  NpyFile file;
  bool fortranOrder = false;
  StringRef header = text.take_front(length);
  if (!HeaderParser(header).parse(file, fortranOrder))
    return createStringError("expected a header with 'descr' (one dtype), "
                             "'fortran_order' and 'shape', found " +
                             escape(header.trim()));
  file.dtype = escape(file.dtype);
  if (fortranOrder)
    return createStringError(Twine("expected C order, found Fortran order"));
  file.data = text.drop_front(length);
  file.buffer = std::move(*buffer);
  return file;
}

static void writeElements(raw_ostream &os, const StridedArray &array, const char *from,
                          size_t dim) {
  size_t rank = array.shape.size();
  if (dim == rank) {
    os.write(from, array.elementBytes);
    return;
  }
  if (dim + 1 == rank && array.strides[dim] == 1) {
    os.write(from, array.shape[dim] * array.elementBytes);
    return;
  }
  for (int64_t i = 0; i < array.shape[dim]; ++i)
    writeElements(os, array, from + i * array.strides[dim] * array.elementBytes, dim + 1);
}

void moe::run::writeNpy(raw_ostream &os, StringRef dtype, const StridedArray &array) {
  std::string header = ("{'descr': '" + dtype + "', 'fortran_order': False, 'shape': " +
                        formatShape(array.shape) + ", }")
                           .str();
  // Magic, version and length are ten bytes; the elements start at a multiple of 64, and
  // the header ends in a line feed.
  size_t begin = kMagic.size() + 4;
  header.resize(llvm::alignTo(begin + header.size() + 1, 64) - begin - 1, ' ');
  header += '\n';

  char length[2];
  llvm::support::endian::write16le(length, header.size());
  os << kMagic << '\x01' << '\x00' << StringRef(length, 2) << header;
  writeElements(os, array, array.data, 0);
}

std::string moe::run::formatShape(ArrayRef<int64_t> shape) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << '(';
  llvm::interleaveComma(shape, os);
  os << (shape.size() == 1 ? ",)" : ")");
  return text;
}
