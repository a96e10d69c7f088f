# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mistakes in the Python package and in the runtime libraries."""

from __future__ import annotations

from mutant import Mutant

_NUMPY = "python/moe_mlir/_numpy.py"
_SCALES = "python/moe_mlir/_scales.py"
_TORCH = "python/moe_mlir/torch_ops.py"
_COMPILER = "python/moe_mlir/_compiler.py"
_PROBLEM = "lib/Runtime/Problem.cpp"
_CHOICE = "lib/Runtime/KernelChoice.cpp"
_SPAN = "lib/Runtime/Span.h"
_ALIGNMENT = "lib/Launch/AlignmentRule.h"
_DESCRIPTION = "lib/Launch/KernelDescription.h"
_CPU = "lib/Runtime/Cpu.cpp"
_CUDA = "lib/Runtime/Cuda.cpp"
_MODULE = "lib/Runtime/Module.cpp"
_MGPU = "lib/MgpuRuntime/Mgpu.cpp"
_IMAGE = "lib/Runtime/Image.cpp"
_CALLS = "lib/Runtime/PythonTensorCalls.cpp"

MUTANTS = [
    # Python.
    Mutant(
        "numpy-row-stride-one-row",
        _NUMPY,
        "if row % size and rows > 1:",
        "if row % size:",
    ),
    Mutant("numpy-row-stride-odd", _NUMPY, "if row % size and", "if False and"),
    Mutant(
        "numpy-one-column-inner-stride",
        _NUMPY,
        "if columns > 1 and inner != size",
        "if inner != size",
    ),
    Mutant(
        "numpy-map-stride-of-one-row",
        _NUMPY,
        "if array.shape[0] > 1 and array.strides[0] != 4",
        "if array.strides[0] != 4",
    ),
    Mutant(
        "numpy-map-stride-unchecked",
        _NUMPY,
        "array.strides[0] != 4",
        "array.strides[0] < 0",
    ),
    Mutant(
        "numpy-n-used-limit",
        _NUMPY,
        "if not -(2**31) <= count < 2**31",
        "if not -(2**31) <= count <= 2**31",
    ),
    Mutant(
        "numpy-n-used-least",
        _NUMPY,
        "if not -(2**31) <= count < 2**31",
        "if not -(2**31) < count < 2**31",
    ),
    Mutant(
        "numpy-n-used-matrix", _NUMPY, "count.size != 1 or count.ndim > 1", "count.size != 1"
    ),
    Mutant("numpy-n-used-bool", _NUMPY, " and not isinstance(count, bool)", ""),
    Mutant(
        "numpy-read-only-output",
        _NUMPY,
        "if not array.flags.writeable:",
        "if array.flags.owndata and not array.flags.writeable:",
    ),
    Mutant(
        "numpy-scale-gap",
        _NUMPY,
        "elif size and scale.strides[0] != 1:",
        "elif size and scale.strides[0] < 0:",
    ),
    Mutant(
        "numpy-scale-size-of-gaps",
        _NUMPY,
        "size = (rows - 1) * scale_stride + groups",
        "size = rows * scale_stride",
    ),
    Mutant("numpy-scale-of-nothing", _NUMPY, "if size and layout:", "if layout:"),
    Mutant("torch-scale-of-nothing", _TORCH, "if not size:", "if False:"),
    Mutant("torch-scale-of-one-row", _TORCH, "elif layout:\n", "elif scale_stride:\n"),
    Mutant(
        "scale-bytes-rows",
        _SCALES,
        "((rows + 127) // 128) * ((groups + 3) // 4) * 512",
        "((rows + 128) // 128) * ((groups + 3) // 4) * 512",
    ),
    Mutant("scale-size-negative", _SCALES, "if sizes[-1] < 0:", "if sizes[-1] < -1:"),
    Mutant(
        "out-of-another-layout",
        "python/moe_mlir/_mxfp8.py",
        "if out.scale_layout != scale_layout:",
        "if not out.scale_layout:",
    ),
    Mutant("compile-negative-size", _COMPILER, "if size < 0:", "if size < -1:"),
    Mutant(
        "compile-linear-dynamic-columns",
        _COMPILER,
        'groups = "?" if columns is None',
        'groups = "1" if columns is None',
    ),
    Mutant("compile-strided", _COMPILER, "strided<[?, 1], offset: ?>", "strided<[?, 1]>"),
    Mutant(
        "compile-columns-unchecked",
        _COMPILER,
        "if columns is not None and int(N) % op.format.group:",
        "if columns is not None and int(N) % 16:",
    ),
    Mutant("compile-one-tool", _COMPILER, "if all(tool.is_file()", "if any(tool.is_file()"),
    Mutant(
        "last-error-text",
        "python/moe_mlir/_runtime.py",
        "if status == INVALID_ARGUMENT:",
        "if status <= NO_CONTEXT and status != 2:",
    ),
    # The runtime library.
    Mutant("problem-one-row-stride", _PROBLEM, "if (rows <= 1 || columns == 0)", "if (rows < 1)"),
    Mutant(
        "problem-bytes-overflow",
        _PROBLEM,
        "__builtin_mul_overflow(bytes, elementBytes, &bytes))",
        "false)",
    ),
    Mutant(
        "problem-columns-limit",
        _PROBLEM,
        "if (columns > kMaxColumns)",
        "if (columns >= kMaxColumns)",
    ),
    Mutant(
        "problem-linear-one-row",
        _PROBLEM,
        "if (stride == 0 || rows <= 1)",
        "if (stride == 0)",
    ),
    Mutant(
        "problem-linear-last-row",
        _PROBLEM,
        "rows == 0 ? 0 : groups, &expected)",
        "rows == 0 ? 0 : stride, &expected)",
    ),
    Mutant(
        "problem-output-over-output",
        _PROBLEM,
        "for (int other = 0; other < output; ++other)",
        "for (int other = 0; other < 3; ++other)",
    ),
    Mutant("span-touching", _SPAN, "a.end <= b.begin ||", "a.end < b.begin ||"),
    Mutant("span-other-touching", _SPAN, "|| b.end <= a.begin", "|| b.end < a.begin"),
    Mutant("span-strides", _SPAN, "a.stride != b.stride)", "false)"),
    Mutant("span-width", _SPAN, "stride - distance < b.width", "stride - distance <= b.width"),
    Mutant("span-other-side", _SPAN, "distance < a.width ||", "distance <= a.width ||"),
    Mutant(
        "span-before",
        _SPAN,
        "stride - (a.begin - b.begin) % stride",
        "(a.begin - b.begin) % stride",
    ),
    Mutant("problem-wraps", _PROBLEM, "if (span.end < span.begin)", "if (false)"),
    Mutant(
        "problem-address-of-an-element",
        _PROBLEM,
        "span.begin & (bytes - 1) :",
        "span.begin & (bytes - 1) & 1 :",
    ),
    Mutant(
        "choice-modes-swapped",
        _CHOICE,
        "mode.dead_scales = scale->dead;",
        "mode.dead_scales = scale->layout;",
    ),
    Mutant(
        "choice-ignores-operands",
        _CHOICE,
        "kKernels[i].operands == operands && isSame",
        "isSame",
    ),
    Mutant(
        "choice-of-an-alpha-of-one",
        _CHOICE,
        "toBits(gate.alpha, 1)",
        "toBits(gate.alpha, 0)",
    ),
    Mutant(
        "problem-odd-columns",
        _PROBLEM,
        "x.columns % 2 != 0 || ",
        "",
    ),
    Mutant(
        "scale-size-wraps",
        "lib/Launch/IntegerArithmetic.h",
        "overflows |= __builtin",
        "overflows = __builtin",
    ),
    Mutant(
        "cpu-slices-of-64-rows",
        _CPU,
        "int64_t begin = firstTile * kScaleTileRows;",
        "int64_t begin = firstTile * kScaleTileRows / 2;",
    ),
    Mutant("cpu-last-slice", _CPU, "ceilDiv(tiles, sliceTiles)};", "tiles / sliceTiles};"),
    Mutant(
        "cpu-used-rows-of-a-slice",
        _CPU,
        "std::clamp<int64_t>(usedRows - begin, 0, rows)",
        "std::clamp<int64_t>(usedRows, 0, rows)",
    ),
    Mutant(
        "cpu-float-environment", _CPU, "kAllMaskedNearest = 0x1f80", "kAllMaskedNearest = 0x9f80"
    ),
    Mutant(
        "cpu-environment-not-restored",
        _CPU,
        "~DefaultFloatEnvironment() { _mm_setcsr(saved); }",
        "~DefaultFloatEnvironment() {}",
    ),
    Mutant("cpu-negative-threads", _CPU, "if (numThreads < 0)", "if (numThreads < -1)"),
    Mutant(
        "cpu-map-of-a-slice",
        _PROBLEM,
        "return {&row, row.elementBytes, data, 1, size, 1, 1, kScaleTileRows};",
        "return {&row, row.elementBytes, data, 1, size, 1, 1, 0};",
    ),
    Mutant(
        "runtime-module-on-cpu",
        "lib/Runtime/Runtime.cpp",
        "if (launch->device == MOE_CPU && launch->module)",
        "if (false)",
    ),
    Mutant(
        "runtime-unknown-flags",
        "lib/Runtime/Runtime.cpp",
        "if (launch->flags & ~uint32_t(MOE_PROGRAMMATIC_LAUNCH | MOE_VALIDATE_POINTERS))",
        "if (launch->flags > 7)",
    ),
    Mutant(
        "image-cubin-short",
        _IMAGE,
        "if (header.e_shoff > size || table > size - header.e_shoff)",
        "if (header.e_shoff > size)",
    ),
    Mutant(
        "image-fatbin-header",
        _IMAGE,
        "header.headerBytes > size - header.contentBytes",
        "header.headerBytes > size",
    ),
    Mutant(
        "launch-address",
        _ALIGNMENT,
        "require(place.address(), operand.addressAlignment)",
        "require(place.address(), operand.addressAlignment / 2)",
    ),
    Mutant(
        "launch-row-stride",
        _ALIGNMENT,
        "require(place.rowStride(), operand.rowStrideAlignment)",
        "require(place.row(), operand.rowStrideAlignment)",
    ),
    Mutant("launch-row", _ALIGNMENT, "if (operand.rowAlignment > 1)", "if (false)"),
    Mutant(
        "launch-one-need",
        _ALIGNMENT,
        "misalignment = a.bitOr(misalignment, a.remainder(bytes, alignment));",
        "misalignment = a.remainder(bytes, alignment);",
    ),
    Mutant(
        "description-cut-off",
        _DESCRIPTION,
        "prologue.totalBytes > size ||",
        "false ||",
    ),
    Mutant(
        "description-operands-outside",
        _DESCRIPTION,
        "          prologue.totalBytes)",
        "          prologue.totalBytes + 88)",
    ),
    Mutant(
        "description-version",
        _DESCRIPTION,
        "version != KernelDescription::kVersion",
        "version < KernelDescription::kVersion",
    ),
    Mutant(
        "cuda-fixed-sizes",
        _CUDA,
        "if (!kernel->isFixed || isFitting(problem, *kernel, misfit))",
        "if (true)",
    ),
    Mutant(
        "cuda-pairs-by-name-alone",
        _CUDA,
        "op.pairBlock == mode.gate_block",
        "true",
    ),
    Mutant(
        "cuda-scales-by-name-alone",
        _CUDA,
        "operand.row->form == kScalesForm && operand.rank != rank",
        "false",
    ),
    Mutant(
        "cuda-groups-stay-behind",
        _MODULE,
        "&module.named[i] != named && other.firstKernel >= at",
        "0",
    ),
    Mutant(
        "cuda-fixed-stride",
        _CUDA,
        "described.rank == 2 && operand.rows > 1",
        "described.rank == 1",
    ),
    Mutant(
        "cuda-other-operands",
        _MODULE,
        "hasBits && operand.isWritten",
        "operand.isWritten",
    ),
    Mutant(
        "cuda-descriptions-of-another-chip",
        _CUDA,
        "findRow(kGpuDescriptions, kNumGpuDescriptions, device.capability)",
        "findRow(kGpuDescriptions, kNumGpuDescriptions, 80)",
    ),
    Mutant(
        "cuda-copy-on-the-default-stream",
        _MODULE,
        "address, size, stream))",
        "address, size, nullptr))",
    ),
    Mutant(
        "cuda-oldest-device",
        _CUDA,
        "device.capability < kMinCapability",
        "device.capability <= kMinCapability",
    ),
    Mutant("cuda-not-initialized", _CUDA, " || result == kDriverNotInitialized", ""),
    Mutant(
        "cuda-old-driver-without-context",
        _CUDA,
        "  if (!handle)\n    return failNoContext();\n",
        "",
    ),
    Mutant(
        "cuda-pointer-elsewhere", _CUDA, " || device != address)", ")"
    ),
    Mutant(
        "cuda-first-image",
        _CUDA,
        "if (rows[i].capability <= capability)",
        "if (rows[i].capability < capability)",
    ),
    Mutant("cuda-module-context", _CUDA, "if (module.context != context)", "if (!context)"),
    Mutant(
        "cuda-capture-mode-stays",
        _CUDA,
        "~RelaxedCaptureMode() { exchange(); }",
        "~RelaxedCaptureMode() {}",
    ),
    # What Python calls it by.
    Mutant(
        "calls-device-of-another-index",
        _CALLS,
        " &&\n         tensor.device.index == device.index",
        "",
    ),
    Mutant(
        "calls-current-device",
        _CALLS,
        "isOnCurrentDevice = current == device.index;",
        "isOnCurrentDevice = current >= 0;",
    ),
    Mutant(
        "calls-guards-of-inference-mode",
        _CALLS,
        "isInference.get() == False ? 1 : 2",
        "isInference.get() == False ? 1 : 1",
    ),
    Mutant("calls-dispatch-modes", _CALLS, "functionModes + dispatchModes", "functionModes"),
    Mutant("calls-deterministic-memory", _CALLS, " && isDeterministic.get() == False)", ")"),
    Mutant(
        "calls-inner-stride",
        _CALLS,
        "return tensor.strides[1] == 1 || matrix.columns <= 1;",
        "return true;",
    ),
    Mutant("calls-rank-of-n-used", _CALLS, "tensor.rank <= 1 &&", ""),
    Mutant("calls-no-rows-expected", _CALLS, "std::max<int64_t>(rows, 1)", "rows"),
    Mutant(
        "calls-scales-apart",
        _CALLS,
        "(rows.rows - 1) * rows.row_stride + rows.columns",
        "rows.rows * rows.row_stride",
    ),
    Mutant("calls-version-of-new-results", _CALLS, "  if (isGiven &&", "  if ("),
    Mutant("calls-result-of-another-type", _CALLS, "if ((type != op.types", "if (false && (type != op.types"),
    Mutant("mgpu-empty-allocation", _MGPU, "  if (size == 0)\n    return nullptr;\n", ""),
    Mutant(
        "mgpu-free-null",
        _MGPU,
        "  if (pointer)\n    DRIVER_CALL(call, MemFree",
        "  DRIVER_CALL(call, MemFree",
    ),
    Mutant("mgpu-stride-of-size-1", _MGPU, "if (sizes[dim] == 1 || strides", "if (strides"),
    Mutant("mgpu-grid-limit", _MGPU, "value < 0 || uint64_t(value) > UINT_MAX", "value < 0"),
    Mutant("mgpu-managed", _MGPU, "  if (isHostShared)\n", "  if (!isHostShared)\n"),
]
