/*===- MgpuRuntime.h - What compiled host code calls --------------*- C -*-===*\
|*                                                                            *|
|* Part of the moe-mlir project, under the Apache License v2.0 with LLVM      *|
|* Exceptions.                                                                *|
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception                    *|
|*                                                                            *|
|*===----------------------------------------------------------------------===*|
|*                                                                            *|
|* libmoe_mgpu_runtime.so: the functions that MLIR 22 calls from host code    *|
|* with gpu ops in it (those of its libmlir_cuda_runtime.so but for sparse    *|
|* matrices and tensor maps), on libcuda.so.1, which the first call opens.    *|
|*                                                                            *|
|*     moe-opt --moe-lower-to-cuda=chip=sm_90 model.mlir |                    *|
|*       mlir-runner -e main --entry-point-result=void                        *|
|*         --shared-libs=libmoe_mgpu_runtime.so                               *|
|*                                                                            *|
|* They use the current context of the calling thread; a thread that has none *|
|* gets the primary context of its default device. A stream of null is the    *|
|* default stream.                                                            *|
|*                                                                            *|
|* They cannot return a failure, and the program that was compiled does not   *|
|* expect one. So a failure ends the process with exit status 1, after one    *|
|* line on stderr that says which function failed and what the driver says,   *|
|* or goes to a handler.                                                      *|
|*                                                                            *|
\*===----------------------------------------------------------------------===*/

#ifndef MOE_C_MGPURUNTIME_H
#define MOE_C_MGPURUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Gets the line that would go to stderr, without a line feed. The process ends with exit
 * status 1 if it returns. */
typedef void (*MoeMgpuErrorHandler)(const char *message);

/* For all threads; null for stderr, as at the start. */
void moeMgpuSetErrorHandler(MoeMgpuErrorHandler handler);

/* That of the current context's device, 90 for 9.0. */
int32_t moeMgpuGetComputeCapability(void);

/* The device of threads that have no current context yet, the calling one alone; 0 at the
 * start. */
void mgpuSetDefaultDevice(int32_t device);

/* A cubin or a fatbin of `size` bytes. */
void *mgpuModuleLoad(const void *image, size_t size);
/* PTX text with its final NUL, assembled at `opt_level`, 0 to 4. */
void *mgpuModuleLoadJIT(const void *ptx, int32_t opt_level);
void mgpuModuleUnload(void *module);
void *mgpuModuleGetFunction(void *module, const char *name);

/* `parameters` points to a pointer to each of the `num_parameters` values. */
void mgpuLaunchKernel(void *function, intptr_t grid_x, intptr_t grid_y, intptr_t grid_z,
                      intptr_t block_x, intptr_t block_y, intptr_t block_z,
                      int32_t shared_memory_bytes, void *stream, void **parameters,
                      void **extra, size_t num_parameters);
/* The same in clusters of CTAs, from compute capability 9.0 on. */
void mgpuLaunchClusterKernel(void *function, intptr_t cluster_x, intptr_t cluster_y,
                             intptr_t cluster_z, intptr_t grid_x, intptr_t grid_y,
                             intptr_t grid_z, intptr_t block_x, intptr_t block_y,
                             intptr_t block_z, int32_t shared_memory_bytes, void *stream,
                             void **parameters, void **extra, size_t num_parameters);

/* Streams do not synchronise with the default stream. */
void *mgpuStreamCreate(void);
void mgpuStreamDestroy(void *stream);
void mgpuStreamSynchronize(void *stream);
void mgpuStreamWaitEvent(void *stream, void *event);
void *mgpuEventCreate(void);
void mgpuEventDestroy(void *event);
void mgpuEventSynchronize(void *event);
void mgpuEventRecord(void *event, void *stream);

/* Device memory, or managed memory, which the host can access too, if `is_host_shared`;
 * null for 0 bytes. The stream is not used: freeing waits for the whole device. */
void *mgpuMemAlloc(uint64_t size, void *stream, uint8_t is_host_shared);
void mgpuMemFree(void *pointer, void *stream);
void mgpuMemcpy(void *destination, const void *source, uint64_t size, void *stream);
/* `count` values of 32 or 16 bits. */
void mgpuMemset32(void *destination, uint32_t value, size_t count, void *stream);
void mgpuMemset16(void *destination, uint16_t value, size_t count, void *stream);
/* Lets the device access host memory: the elements of the memref of rank `rank` whose
 * lowered descriptor is at `descriptor`, without gaps and in C order. */
void mgpuMemHostRegisterMemRef(int64_t rank, const void *descriptor,
                               int64_t element_bytes);
void mgpuMemHostUnregisterMemRef(int64_t rank, const void *descriptor,
                                 int64_t element_bytes);

#pragma GCC visibility pop
#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MOE_C_MGPURUNTIME_H */
