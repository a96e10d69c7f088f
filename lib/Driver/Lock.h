//===- Lock.h - A held mutex ------------------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// std::lock_guard for a POSIX mutex: std::mutex throws, and so needs the C++ library.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_DRIVER_LOCK_H
#define MOE_LIB_DRIVER_LOCK_H

#include <pthread.h>

namespace moe {

class Lock {
public:
  explicit Lock(pthread_mutex_t &mutex) : mutex(mutex) { pthread_mutex_lock(&mutex); }
  ~Lock() { pthread_mutex_unlock(&mutex); }
  Lock(const Lock &) = delete;
  Lock &operator=(const Lock &) = delete;

private:
  pthread_mutex_t &mutex;
};

} // namespace moe

#endif // MOE_LIB_DRIVER_LOCK_H
