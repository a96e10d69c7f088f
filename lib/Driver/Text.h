//===- Text.h - Text for a message ------------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Parts of a message, put together without allocating.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_DRIVER_TEXT_H
#define MOE_LIB_DRIVER_TEXT_H

#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstdio>

namespace moe {

/// Text to which more is added; what there is no room for is left out.
class Text {
public:
  /// As printf.
  __attribute__((format(printf, 2, 3))) void add(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = std::vsnprintf(text + size, sizeof(text) - size, format, arguments);
    va_end(arguments);
    size = std::min(size + size_t(std::max(length, 0)), sizeof(text) - 1);
  }
  /// One more of a list.
  void addItem(const char *item) { add("%s%s", size == 0 ? "" : ", ", item); }

  const char *c_str() const { return text; }

private:
  char text[1536] = "";
  size_t size = 0;
};

} // namespace moe

#endif // MOE_LIB_DRIVER_TEXT_H
