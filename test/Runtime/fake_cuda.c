/* A libcuda.so.1 without a GPU: it answers the calls that the runtime library makes,
 * keeps a record of them, and fails where it is told to. The fake_... functions are the
 * tests' side.
 *
 * Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  NOT_INITIALIZED = 3,
  INVALID_CONTEXT = 201,
  NOT_FOUND = 500,
  CAPTURE_UNSUPPORTED = 900,
};
enum { MAX_PARAMETERS = 29, MAX_LAUNCHES = 4096, LOG_BYTES = 1 << 20 };

typedef struct Function {
  char name[80];
  struct Module *module;
} Function;

typedef struct Module {
  Function functions[64];
  int num_functions;
} Module;

typedef struct Context {
  unsigned long long id;
  int device;
} Context;

typedef struct Launch {
  char name[80];
  unsigned grid[3], block[3];
  unsigned shared_memory;
  void *stream;
  int num_parameters;
  uint64_t parameters[MAX_PARAMETERS];
  int programmatic;
  unsigned long long context;
} Launch;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int initialized;
static __thread Context *current;
static int capability = 90, num_sms = 132, max_threads = 256;
static char failing_call[64];
static int failing_code;
static int is_capturing; /* Module loads then need the relaxed capture mode. */
static __thread int capture_mode;
static char missing_suffix[80]; /* Kernels whose names end so are not found. */
static uint64_t device_memory_begin, device_memory_end;
static Launch launches[MAX_LAUNCHES];
static int num_launches;
static char calls[LOG_BYTES]; /* Names, a space after each. */
static size_t calls_used;
static const void *last_image;

/* Notes the call; its result, unless it goes on. */
static int enter(const char *name) {
  pthread_mutex_lock(&mutex);
  size_t length = strlen(name);
  if (calls_used + length + 2 < LOG_BYTES) {
    memcpy(calls + calls_used, name, length);
    calls_used += length;
    calls[calls_used++] = ' ';
    calls[calls_used] = '\0';
  }
  int result = strcmp(name, failing_call) == 0 ? failing_code : SUCCESS;
  if (result == SUCCESS && !initialized && strcmp(name, "cuInit") != 0)
    result = NOT_INITIALIZED;
  pthread_mutex_unlock(&mutex);
  return result;
}
#define ENTER()                                                                          \
  do {                                                                                   \
    int result = enter(__func__);                                                        \
    if (result != SUCCESS)                                                               \
      return result;                                                                     \
  } while (0)

/*===-- What tests call
 * ---------------------------------------------------------------===*/

void fake_set_device(int new_capability, int new_num_sms, int new_max_threads) {
  capability = new_capability;
  num_sms = new_num_sms;
  max_threads = new_max_threads;
}

/* The driver function `call` returns `code` from now on. */
void fake_fail(const char *call, int code) {
  snprintf(failing_call, sizeof(failing_call), "%s", call);
  failing_code = code;
}

void fake_set_capturing(int value) { is_capturing = value; }
void fake_set_missing_suffix(const char *suffix) {
  snprintf(missing_suffix, sizeof(missing_suffix), "%s", suffix);
}
void fake_set_device_memory(uint64_t begin, uint64_t end) {
  device_memory_begin = begin;
  device_memory_end = end;
}
void *fake_create_context(void) {
  static unsigned long long next_id;
  Context *context = calloc(1, sizeof(Context));
  pthread_mutex_lock(&mutex);
  context->id = next_id++;
  pthread_mutex_unlock(&mutex);
  return context;
}
/* The address of `context` for a new context, as after cudaDeviceReset. */
void fake_replace_context(void *context) {
  void *other = fake_create_context();
  *(Context *)context = *(Context *)other;
  free(other);
}
void fake_make_current(void *context) { current = context; }
int fake_num_launches(void) { return num_launches; }
const Launch *fake_launch(int index) { return &launches[index]; }
const char *fake_calls(void) { return calls; }
void fake_clear(void) {
  num_launches = 0;
  calls_used = 0;
  calls[0] = '\0';
}
const void *fake_last_image(void) { return last_image; }

/*===-- What the runtime library calls
 * ------------------------------------------------===*/

int cuInit(unsigned flags) {
  ENTER();
  initialized = flags == 0;
  return SUCCESS;
}

int cuGetErrorName(int code, const char **name) {
  switch (code) {
  case 2:
    *name = "CUDA_ERROR_OUT_OF_MEMORY";
    break;
  case 100:
    *name = "CUDA_ERROR_NO_DEVICE";
    break;
  case 218:
    *name = "CUDA_ERROR_INVALID_PTX";
    break;
  case 700:
    *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
    break;
  case CAPTURE_UNSUPPORTED:
    *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
    break;
  default:
    *name = NULL;
    return INVALID_VALUE;
  }
  return SUCCESS;
}

int cuGetErrorString(int code, const char **text) {
  if (code != 2 && code != 100 && code != 218 && code != 700 && code != 900) {
    *text = NULL;
    return INVALID_VALUE;
  }
  *text = "as told to the fake driver";
  return SUCCESS;
}

#ifndef OLD_DRIVER
int cuCtxGetId(void *context, unsigned long long *id) {
  ENTER();
  if (!context)
    context = current;
  if (!context)
    return INVALID_CONTEXT;
  *id = ((Context *)context)->id;
  return SUCCESS;
}

int cuThreadExchangeStreamCaptureMode(int *mode) {
  ENTER();
  int old = capture_mode;
  capture_mode = *mode;
  *mode = old;
  return SUCCESS;
}
#endif

int cuCtxGetCurrent(void **context) {
  ENTER();
  *context = current;
  return SUCCESS;
}

int cuCtxGetDevice(int *device) {
  ENTER();
  if (!current)
    return INVALID_CONTEXT;
  *device = current->device;
  return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  ENTER();
  (void)device;
  switch (attribute) {
  case 16:
    *value = num_sms;
    return SUCCESS;
  case 75:
    *value = capability / 10;
    return SUCCESS;
  case 76:
    *value = capability % 10;
    return SUCCESS;
  default:
    return INVALID_VALUE;
  }
}

int cuModuleLoadDataEx(void **module, const void *image, unsigned num_options,
                       int *options, void **values) {
  int result = enter(__func__);
  if (result == SUCCESS && is_capturing && capture_mode != 2)
    result = CAPTURE_UNSUPPORTED;
  if (result != SUCCESS) {
    if (num_options == 2 && options[0] == 5 && options[1] == 6)
      snprintf(values[0], (size_t)values[1], "ptxas: line 1; the log of the fake driver");
    return result;
  }
  last_image = image;
  *module = calloc(1, sizeof(Module));
  return SUCCESS;
}

int cuModuleUnload(void *module) {
  ENTER();
  free(module);
  return SUCCESS;
}

static int ends_with(const char *name, const char *suffix) {
  size_t length = strlen(name), end = strlen(suffix);
  return end != 0 && length >= end && strcmp(name + length - end, suffix) == 0;
}

int cuModuleGetFunction(void **function, void *handle, const char *name) {
  ENTER();
  Module *module = handle;
  if (ends_with(name, missing_suffix))
    return NOT_FOUND;
  Function *made = &module->functions[module->num_functions++];
  snprintf(made->name, sizeof(made->name), "%s", name);
  made->module = module;
  *function = made;
  return SUCCESS;
}

int cuFuncGetAttribute(int *value, int attribute, void *function) {
  ENTER();
  (void)function;
  *value = max_threads;
  return attribute == 0 ? SUCCESS : INVALID_VALUE;
}

int cuPointerGetAttribute(void *value, int attribute, uint64_t pointer) {
  ENTER();
  if (attribute != 3 || pointer < device_memory_begin || pointer >= device_memory_end)
    return INVALID_VALUE;
  *(uint64_t *)value = pointer;
  return SUCCESS;
}

static int record(const Function *function, const unsigned *grid, const unsigned *block,
                  unsigned shared_memory, void *stream, void **parameters,
                  int programmatic) {
  pthread_mutex_lock(&mutex);
  if (num_launches == MAX_LAUNCHES)
    abort();
  Launch *launch = &launches[num_launches++];
  memset(launch, 0, sizeof(*launch));
  snprintf(launch->name, sizeof(launch->name), "%s", function->name);
  memcpy(launch->grid, grid, sizeof(launch->grid));
  memcpy(launch->block, block, sizeof(launch->block));
  launch->shared_memory = shared_memory;
  launch->stream = stream;
  /* x, permutation_map, n_used, out; then scale of rank 1 or 2. */
  launch->num_parameters = 7 + 5 + 3 + 7;
  if (strstr(function->name, "quantize"))
    launch->num_parameters += strstr(function->name, "_linear") ? 7 : 5;
  for (int i = 0; i < launch->num_parameters; ++i)
    memcpy(&launch->parameters[i], parameters[i], 8);
  launch->programmatic = programmatic;
  launch->context = current->id;
  pthread_mutex_unlock(&mutex);
  return SUCCESS;
}

int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared_memory, void *stream, void **parameters,
                   void **extra) {
  ENTER();
  unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
  if (extra)
    return INVALID_VALUE;
  return record(function, grid, block, shared_memory, stream, parameters, 0);
}

#ifndef OLD_DRIVER
/* CUlaunchConfig and CUlaunchAttribute by their offsets, not by the runtime's structures.
 */
int cuLaunchKernelEx(const char *config, void *function, void **parameters,
                     void **extra) {
  ENTER();
  const unsigned *words = (const unsigned *)config;
  void *stream;
  const int *attributes;
  memcpy(&stream, config + 32, sizeof(stream));
  memcpy(&attributes, config + 40, sizeof(attributes));
  if (extra || words[12] != 1)
    return INVALID_VALUE;
  return record(function, words, words + 3, words[6], stream, parameters,
                attributes[0] == 6 && attributes[2] == 1);
}
#endif
