/* A libcuda.so.1 without a GPU: it answers the calls that the runtime libraries make,
 * keeps a record of them, and fails where it is told to. The fake_... functions are the
 * tests' side.
 *
 * A process that a test cannot reach into is told by the environment:
 *   FAKE_CUDA_FOLDER      where the driver keeps the file "memory" with the contents of
 *                         all device memory, and "calls" with the names of the calls
 *   FAKE_CUDA_LAUNCHER    a command that runs a launch: it finds the PTX of the module in
 *                         the folder's file "ptx" and the launch in "launch"
 *   FAKE_CUDA_FAIL        "cuSomething 700": what fails, and how
 *   FAKE_CUDA_CAPABILITY  the compute capability, 90 for 9.0
 *
 * Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  NOT_INITIALIZED = 3,
  INVALID_CONTEXT = 201,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  CAPTURE_UNSUPPORTED = 900,
};
enum { MAX_PARAMETERS = 64, MAX_LAUNCHES = 4096, LOG_BYTES = 1 << 20 };

typedef struct Function {
  char name[96];
  struct Module *module;
} Function;

typedef struct Module {
  char *text; /* A copy of PTX; null for machine code, whose size the driver knows. */
  Function functions[256];
  int num_functions;
} Module;

typedef struct Context {
  unsigned long long id;
  int device;
} Context;

typedef struct Launch {
  char name[96];
  unsigned grid[3], block[3];
  unsigned shared_memory;
  void *stream;
  int num_parameters;
  uint64_t parameters[MAX_PARAMETERS];
  int programmatic;
  unsigned cluster[3]; /* 0 without clusters. */
  unsigned long long context;
} Launch;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int initialized;
static __thread Context *current;
static int capability = 90, num_sms = 132;
static char failing_call[64];
static int failing_code;
static int is_capturing; /* Module loads then need the relaxed capture mode. */
static __thread int capture_mode;
static char missing_suffix[96]; /* Kernels whose names end so are not found. */
static char *machine_code_text;
static uint64_t device_memory_begin, device_memory_end, device_shift;
static Launch launches[MAX_LAUNCHES];
static int num_launches;
static char calls[LOG_BYTES]; /* Names, a space after each. */
static size_t calls_used;
static const void *last_image;

static FILE *open_in_folder(const char *name, const char *mode) {
  const char *folder = getenv("FAKE_CUDA_FOLDER");
  char path[4096];
  if (!folder)
    return NULL;
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  FILE *file = fopen(path, mode);
  if (!file)
    abort();
  return file;
}

/* Notes the call; its result, unless it goes on. */
static int enter(const char *name) {
  pthread_mutex_lock(&mutex);
  FILE *file = open_in_folder("calls", "a");
  if (file) {
    fprintf(file, "%s\n", name);
    fclose(file);
  }
  const char *failure = getenv("FAKE_CUDA_FAIL");
  if (failure && sscanf(failure, "%63s %d", failing_call, &failing_code) != 2)
    abort();
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

void fake_set_device(int new_capability, int new_num_sms) {
  capability = new_capability;
  num_sms = new_num_sms;
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
/* The PTX that stands for machine code, whose constants are looked up in it. */
void fake_set_machine_code(const char *text) {
  free(machine_code_text);
  machine_code_text = text ? strdup(text) : NULL;
}
/* From now on the device has memory elsewhere than the host, as registered memory may. */
void fake_set_device_shift(uint64_t shift) { device_shift = shift; }

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
int fake_current_device(void) { return current->device; }
int fake_num_launches(void) { return num_launches; }
const Launch *fake_launch(int index) { return &launches[index]; }
const char *fake_calls(void) { return calls; }
void fake_clear(void) {
  num_launches = 0;
  calls_used = 0;
  calls[0] = '\0';
}
const void *fake_last_image(void) { return last_image; }

/*===-- Memory
 * ------------------------------------------------------------------------===*/

/* Device memory has its addresses from a range of its own. The host can access those of
 * managed memory; the driver itself accesses all of it through a second mapping. An
 * allocation takes whole pages and is followed by one that nobody can access. */
enum { MEMORY_BYTES = 1 << 28, PAGE = 4096, MAX_ALLOCATIONS = 1024 };
static char *const memory_base = (char *)0x200000000000;
static char *memory_alias;
static size_t memory_used;
static struct {
  uint64_t address;
  size_t size;
} allocations[MAX_ALLOCATIONS];
static int num_allocations;

static void make_memory(void) {
  char path[4096];
  const char *folder = getenv("FAKE_CUDA_FOLDER");
  snprintf(path, sizeof(path), "%s/memory", folder ? folder : "");
  int file = folder ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0600)
                    : memfd_create("fake_cuda", 0);
  if (file < 0 || ftruncate(file, MEMORY_BYTES) != 0)
    abort();
  void *base = mmap(memory_base, MEMORY_BYTES, PROT_NONE,
                    MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
  memory_alias = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (base != memory_base || memory_alias == MAP_FAILED)
    abort();
  close(file);
}

static int allocate(uint64_t *address, size_t size, int is_managed) {
  if (!memory_alias)
    make_memory();
  size_t pages = (size + PAGE - 1) / PAGE * PAGE;
  if (size == 0)
    return INVALID_VALUE;
  if (num_allocations == MAX_ALLOCATIONS || pages + PAGE > MEMORY_BYTES - memory_used)
    return 2;
  if (is_managed &&
      mprotect(memory_base + memory_used, pages, PROT_READ | PROT_WRITE) != 0)
    abort();
  memset(memory_alias + memory_used, 0xcd, pages);
  *address = (uint64_t)(uintptr_t)(memory_base + memory_used);
  allocations[num_allocations].address = *address;
  allocations[num_allocations++].size = size;
  memory_used += pages + PAGE;
  return SUCCESS;
}

/* How the driver accesses `size` bytes at an address: null if it may not. */
static char *access_memory(uint64_t address, size_t size) {
  if (address - (uintptr_t)memory_base >= MEMORY_BYTES)
    return (char *)(uintptr_t)address; /* The host's. */
  for (int i = 0; i < num_allocations; ++i)
    if (address >= allocations[i].address &&
        address - allocations[i].address <= allocations[i].size &&
        size <= allocations[i].size - (address - allocations[i].address))
      return memory_alias + (address - (uintptr_t)memory_base);
  return NULL;
}

int cuMemAlloc_v2(uint64_t *address, size_t size) {
  ENTER();
  return allocate(address, size, 0);
}

int cuMemAllocManaged(uint64_t *address, size_t size, unsigned flags) {
  ENTER();
  return flags == 1 ? allocate(address, size, 1) : INVALID_VALUE;
}

int cuMemFree_v2(uint64_t address) {
  ENTER();
  for (int i = 0; i < num_allocations; ++i) {
    if (allocations[i].address != address)
      continue;
    char *base = (char *)(uintptr_t)address;
    size_t pages = (allocations[i].size + PAGE - 1) / PAGE * PAGE;
    if (mprotect(base, pages, PROT_NONE) != 0)
      abort();
    allocations[i] = allocations[--num_allocations];
    return SUCCESS;
  }
  return INVALID_VALUE;
}

int cuMemcpyAsync(uint64_t destination, uint64_t source, size_t size, void *stream) {
  ENTER();
  (void)stream;
  char *to = access_memory(destination, size), *from = access_memory(source, size);
  if (!to || !from)
    return INVALID_VALUE;
  memcpy(to, from, size);
  return SUCCESS;
}

int cuMemsetD32Async(uint64_t destination, unsigned value, size_t count, void *stream) {
  ENTER();
  (void)stream;
  char *to = access_memory(destination, 4 * count);
  for (size_t i = 0; to && i < count; ++i)
    memcpy(to + 4 * i, &value, 4);
  return to ? SUCCESS : INVALID_VALUE;
}

int cuMemsetD16Async(uint64_t destination, unsigned short value, size_t count,
                     void *stream) {
  ENTER();
  (void)stream;
  char *to = access_memory(destination, 2 * count);
  for (size_t i = 0; to && i < count; ++i)
    memcpy(to + 2 * i, &value, 2);
  return to ? SUCCESS : INVALID_VALUE;
}

static void *registered;
int cuMemHostRegister_v2(void *pointer, size_t size, unsigned flags) {
  ENTER();
  if (flags != 0 || size == 0 || registered)
    return INVALID_VALUE;
  registered = pointer;
  return SUCCESS;
}

int cuMemHostUnregister(void *pointer) {
  ENTER();
  if (pointer != registered)
    return INVALID_VALUE;
  registered = NULL;
  return SUCCESS;
}

/*===-- Streams and events
 * ------------------------------------------------------------===*/

/* Everything is done at once. What is checked is that handles are live ones. */
static const char kStream[] = "stream", kEvent[] = "event";

static int make_handle(void **handle, const char *kind) {
  const char **made = malloc(sizeof(*made));
  *made = kind;
  *handle = made;
  return SUCCESS;
}
static int check_handle(void *handle, const char *kind) {
  return handle && *(const char **)handle == kind ? SUCCESS : 400;
}
static int free_handle(void *handle, const char *kind) {
  int result = check_handle(handle, kind);
  if (result == SUCCESS)
    *(const char **)handle = NULL; /* Kept, so that a later use is seen. */
  return result;
}

int cuStreamCreate(void **stream, unsigned flags) {
  ENTER();
  return flags == 1 ? make_handle(stream, kStream) : INVALID_VALUE;
}
int cuStreamDestroy_v2(void *stream) {
  ENTER();
  return free_handle(stream, kStream);
}
int cuStreamSynchronize(void *stream) {
  ENTER();
  return stream ? check_handle(stream, kStream) : SUCCESS;
}
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  ENTER();
  int result = check_handle(stream, kStream);
  if (result == SUCCESS && flags == 0)
    result = check_handle(event, kEvent);
  return flags == 0 ? result : INVALID_VALUE;
}
int cuEventCreate(void **event, unsigned flags) {
  ENTER();
  return flags == 2 ? make_handle(event, kEvent) : INVALID_VALUE;
}
int cuEventDestroy_v2(void *event) {
  ENTER();
  return free_handle(event, kEvent);
}
int cuEventSynchronize(void *event) {
  ENTER();
  return check_handle(event, kEvent);
}
int cuEventRecord(void *event, void *stream) {
  ENTER();
  int result = check_handle(event, kEvent);
  return result == SUCCESS && stream ? check_handle(stream, kStream) : result;
}

/*===-- Contexts, modules and launches
 * ------------------------------------------------===*/

int cuInit(unsigned flags) {
  ENTER();
  const char *told = getenv("FAKE_CUDA_CAPABILITY");
  if (told)
    capability = atoi(told);
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

int cuDeviceGet(int *device, int ordinal) {
  ENTER();
  *device = ordinal;
  return ordinal == 0 || ordinal == 1 ? SUCCESS : 101;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  ENTER();
  static Context *primary[2];
  if (!primary[device]) {
    primary[device] = fake_create_context();
    primary[device]->device = device;
  }
  *context = primary[device];
  return SUCCESS;
}

int cuCtxSetCurrent(void *context) {
  ENTER();
  current = context;
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
    if (num_options >= 2 && options[0] == 5 && options[1] == 6)
      snprintf(values[0], (size_t)values[1], "ptxas: line 1; the log of the fake driver");
    return result;
  }
  last_image = image;
  FILE *file = open_in_folder("ptx", "w");
  if (file) {
    fputs(image, file);
    fclose(file);
  }
  Module *made = calloc(1, sizeof(Module));
  const char *begin = (const char *)image + strspn(image, " \n"); /* Without comments. */
  int is_text = strncmp(begin, "//", 2) == 0 || strncmp(begin, ".version", 8) == 0;
  made->text = is_text ? strdup(image) : NULL;
  *module = made;
  return SUCCESS;
}

int cuModuleUnload(void *module) {
  ENTER();
  free(((Module *)module)->text);
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
  char entry[112];
  snprintf(entry, sizeof(entry), ".entry %s(", name);
  if (ends_with(name, missing_suffix) || (module->text && !strstr(module->text, entry)))
    return NOT_FOUND;
  Function *made = &module->functions[module->num_functions++];
  snprintf(made->name, sizeof(made->name), "%s", name);
  made->module = module;
  *function = made;
  return SUCCESS;
}

/* A constant of bytes in the text of the module, or what the tests say is in machine
 * code. */
int cuModuleGetGlobal_v2(uint64_t *address, size_t *size, void *handle,
                         const char *name) {
  ENTER();
  const char *text = ((Module *)handle)->text;
  char declaration[120];
  snprintf(declaration, sizeof(declaration), ".b8 %s[", name);
  const char *at = text || machine_code_text
                       ? strstr(text ? text : machine_code_text, declaration)
                       : NULL;
  if (!at)
    return NOT_FOUND;
  char *end;
  *size = strtoul(at + strlen(declaration), &end, 10);
  unsigned char *bytes = calloc(1, *size + 1); /* Kept, as the module may be copied. */
  at = strchr(end, '{');
  for (size_t i = 0; i < *size && *at != '}'; ++i, at = end)
    bytes[i] = (unsigned char)strtoul(at + 1, &end, 10);
  *address = (uintptr_t)bytes;
  return SUCCESS;
}

int cuPointerGetAttribute(void *value, int attribute, uint64_t pointer) {
  ENTER();
  if (attribute != 3 || pointer < device_memory_begin || pointer >= device_memory_end)
    return INVALID_VALUE;
  *(uint64_t *)value = pointer + device_shift;
  return SUCCESS;
}

static int count_parameters(const Function *function) {
  const char *text = function->module->text;
  if (!text) {
    /* No PTX, so the library's own kernels: x, permutation_map unless it is a dense one,
     * n_used, probs, out; then scale of rank 1 or 2. Or what ROUTE and UNPERMUTE of
     * test_runtime_permutation_launch.py are. */
    int has_probs = strstr(function->name, "_probs") != NULL;
    if (strncmp(function->name, "route_tokens", 12) == 0)
      return 7 + 3 + 2 + 3 * 5 + 5 + 7 + (has_probs ? 7 + 5 : 0);
    if (strncmp(function->name, "unpermute_tokens", 16) == 0)
      return 7 + 7 + 3 + (has_probs ? 5 : 0) + 7;
    int inputs = 7 + (strstr(function->name, "_dense") ? 0 : 5) + 3 + (has_probs ? 5 : 0);
    int outputs = !strstr(function->name, "quantize") ? 7
                  : strstr(function->name, "_linear") ? 7 + 7
                                                      : 7 + 5;
    return inputs + outputs;
  }
  char entry[112];
  snprintf(entry, sizeof(entry), ".entry %s(", function->name);
  const char *at = strstr(text, entry);
  if (!at)
    abort();
  const char *end = strchr(at + strlen(entry), ')');
  int count = 0;
  for (; (at = strstr(at, ".param")) && at < end; ++at)
    ++count;
  return count <= MAX_PARAMETERS ? count : (abort(), 0);
}

/* Has the launcher run it, if there is one. */
static int run(const Launch *launch) {
  const char *command = getenv("FAKE_CUDA_LAUNCHER");
  if (!command)
    return SUCCESS;
  FILE *file = open_in_folder("launch", "w");
  fprintf(file, "%s\n%u %u %u\n%u %u %u\n", launch->name, launch->grid[0],
          launch->grid[1], launch->grid[2], launch->block[0], launch->block[1],
          launch->block[2]);
  for (int i = 0; i < launch->num_parameters; ++i)
    fprintf(file, "%llu ", (unsigned long long)launch->parameters[i]);
  fprintf(file, "\n%llu\n", (unsigned long long)(uintptr_t)memory_base);
  for (int i = 0; i < num_allocations; ++i)
    fprintf(file, "%llu %zu\n", (unsigned long long)allocations[i].address,
            allocations[i].size);
  fclose(file);
  return system(command) == 0 ? SUCCESS : ILLEGAL_ADDRESS;
}

static int record(const Function *function, const unsigned *grid, const unsigned *block,
                  unsigned shared_memory, void *stream, void **parameters,
                  int programmatic, const unsigned *cluster) {
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
  launch->num_parameters = count_parameters(function);
  for (int i = 0; i < launch->num_parameters; ++i)
    memcpy(&launch->parameters[i], parameters[i], 8);
  launch->programmatic = programmatic;
  if (cluster)
    memcpy(launch->cluster, cluster, sizeof(launch->cluster));
  launch->context = current->id;
  int result = run(launch);
  pthread_mutex_unlock(&mutex);
  return result;
}

int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared_memory, void *stream, void **parameters,
                   void **extra) {
  ENTER();
  unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
  if (extra)
    return INVALID_VALUE;
  return record(function, grid, block, shared_memory, stream, parameters, 0, NULL);
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
                attributes[0] == 6 && attributes[2] == 1,
                attributes[0] == 4 ? (const unsigned *)attributes + 2 : NULL);
}
#endif
