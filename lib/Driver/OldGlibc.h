//===- OldGlibc.h - Symbols as glibc before 2.34 has them -------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// glibc 2.32 and 2.34 moved functions from libpthread and libdl into libc, under new
// versions that a library linked there asks for. The old versions are there too, and are
// the same functions. Included first in every file of the runtime libraries, by the
// compiler's command line, so that what is built on a new distribution loads on an old
// one.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_DRIVER_OLDGLIBC_H
#define MOE_LIB_DRIVER_OLDGLIBC_H

#include <features.h>

#ifdef __GLIBC__
#if defined(__x86_64__)
#define MOE_OLDEST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define MOE_OLDEST_GLIBC "GLIBC_2.17"
#endif
#endif

#ifdef MOE_OLDEST_GLIBC
#define MOE_OLD_SYMBOL(name) __asm__(".symver " #name "," #name "@" MOE_OLDEST_GLIBC)
MOE_OLD_SYMBOL(dlerror);
MOE_OLD_SYMBOL(dlopen);
MOE_OLD_SYMBOL(dlsym);
MOE_OLD_SYMBOL(pthread_create);
MOE_OLD_SYMBOL(pthread_join);
MOE_OLD_SYMBOL(pthread_sigmask);
#undef MOE_OLD_SYMBOL
#undef MOE_OLDEST_GLIBC
#endif

#endif // MOE_LIB_DRIVER_OLDGLIBC_H
