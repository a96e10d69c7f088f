//===- Image.cpp - Images of GPU code -------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tells PTX, cubin and fatbin apart and finds truncated ones.
//
//===----------------------------------------------------------------------===//

#include "Image.h"

#include "../Driver/Status.h"
#include <cstring>
#include <elf.h>

using namespace moe;

namespace {

/// The start of what fatbinary writes.
struct FatbinHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t headerBytes;
  uint64_t contentBytes;
};

} // namespace

static constexpr uint32_t kFatbinMagic = 0xba55ed50;

static MoeStatus failTruncated(const char *kind, unsigned long long expected,
                               size_t found) {
  return fail(MOE_INVALID_ARGUMENT,
              "image: expected the %llu bytes of a %s, found %zu bytes", expected, kind,
              found);
}

MoeStatus moe::checkImage(const void *image, size_t size, bool &isText) {
  isText = false;
  uint32_t magic = 0;
  std::memcpy(&magic, image, size < sizeof(magic) ? size : sizeof(magic));
  if (magic == kFatbinMagic) {
    FatbinHeader header;
    if (size < sizeof(header))
      return failTruncated("fatbin's header", sizeof(header), size);
    std::memcpy(&header, image, sizeof(header));
    if (header.contentBytes > size || header.headerBytes > size - header.contentBytes)
      return failTruncated("fatbin", header.headerBytes + header.contentBytes, size);
    return MOE_SUCCESS;
  }
  if (size >= SELFMAG && std::memcmp(image, ELFMAG, SELFMAG) == 0) {
    Elf64_Ehdr header;
    if (size < sizeof(header))
      return failTruncated("cubin's header", sizeof(header), size);
    std::memcpy(&header, image, sizeof(header));
    uint64_t table = uint64_t(header.e_shnum) * header.e_shentsize;
    if (header.e_shoff > size || table > size - header.e_shoff)
      return failTruncated("cubin", header.e_shoff + table, size);
    return MOE_SUCCESS;
  }
  isText = true;
  if (!memmem(image, size, ".version", std::strlen(".version")))
    return fail(MOE_INVALID_ARGUMENT,
                "image: expected PTX text, a cubin or a fatbin, "
                "found none of them in %zu bytes",
                size);
  return MOE_SUCCESS;
}
