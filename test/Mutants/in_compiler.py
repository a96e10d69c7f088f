# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mistakes in the compiler and in moe-run."""

from __future__ import annotations

from mutant import Mutant

_CHIP = "lib/Target/Chip.cpp"
_CHUNKS = "lib/Conversion/WarpToGPU/Chunks.cpp"
_GROUPS = "lib/Conversion/WarpToGPU/Groups.cpp"
_QUADS = "lib/Conversion/WarpToGPU/Quads.cpp"
_ROUTE = "lib/Conversion/PermutationToGPU/RouteKernel.cpp"
_ROUTE_CLUSTER = "lib/Conversion/PermutationToGPU/RouteClusterKernel.cpp"
_ROWS = "lib/Conversion/WarpToGPU/Rows.cpp"
_WARP_IR = "lib/Warp/IR/Warp.cpp"
_WARP_KERNEL = "lib/Conversion/MoeToWarp/WarpKernel.cpp"
_MXFP8 = "lib/IR/MXFP8.cpp"
_GROUP = "lib/Conversion/GroupArithmetic.cpp"
_WORDS = "lib/Conversion/GroupWords.cpp"
_BF16 = "lib/Conversion/LegalizeBF16.cpp"
_F8 = "lib/Conversion/LegalizeF8.cpp"
_TRANSLATABLE = "lib/Target/VerifyTranslatable.cpp"
_SCF = "lib/Conversion/MoeToSCF.cpp"
_CHECKS = "lib/Transforms/RuntimeVerifiableOpInterfaceImpl.cpp"

MUTANTS = [
    # Chips and PTX.
    Mutant("chip-no-sm-103f", _CHIP, '{"sm_103f", 103, 88, 88}, ', ""),
    Mutant(
        "chip-89-without-e4m3", "include/moe/Target/Chip.h", "capability >= 89", "capability > 89"
    ),
    Mutant(
        "chip-90-without-waits",
        "include/moe/Target/Chip.h",
        "hasGridDependencyControl() const { return capability >= 90",
        "hasGridDependencyControl() const { return capability > 90",
    ),
    Mutant(
        "chip-89-with-clusters",
        "include/moe/Target/Chip.h",
        "hasClusters() const { return capability >= 90",
        "hasClusters() const { return capability >= 89",
    ),
    Mutant("chip-100-narrow", "include/moe/Target/Chip.h", "capability >= 100", "capability > 100"),
    Mutant("chip-ptx-of-sm-120", _CHIP, '{"sm_120", 120, 87, 88}', '{"sm_120", 120, 88, 88}'),
    Mutant(
        "chip-ptx-least",
        _CHIP,
        "version >= chip.minPTXVersion && llvm",
        "version > chip.minPTXVersion && llvm",
    ),
    Mutant(
        "chip-opt-level", "lib/Target/AttachTarget.cpp", "optLevel > 3) {", "optLevel > 4) {"
    ),
    Mutant(
        "ptx-object-of-chip",
        "lib/Target/PTX.cpp",
        "chip.empty() || getChip(object) == chip",
        "true",
    ),
    Mutant(
        "binary-with-times",
        "lib/Target/ModuleToBinary.cpp",
        'properties.erase("LLVMIRToISATimeInMs");',
        "",
    ),
    Mutant("error-at-the-last-op", _TRANSLATABLE, "if (its >= turn)", "if (its > turn)"),
    Mutant(
        "error-in-functions-first",
        _TRANSLATABLE,
        "{ First, WithFunctions, Last, Never }",
        "{ WithFunctions, First, Last, Never }",
    ),
    Mutant(
        "instruction-of-no-chip", _TRANSLATABLE, "return chip.hasF8Conversion();", "return true;"
    ),
    Mutant(
        "f8-for-some-target",
        _F8,
        "return llvm::all_of(module.getTargetsAttr()",
        "return llvm::any_of(module.getTargetsAttr()",
    ),
    # Lowerings.
    Mutant("rceil-rounding", _MXFP8, "constant(0x1f)", "constant(0x20)"),
    Mutant("rceil-least", _MXFP8, "exponent, constant(1));", "exponent, constant(0));"),
    Mutant(
        "rceil-infinity", _MXFP8, "equals(0x7f80), constant(255)", "equals(0x7f80), constant(254)"
    ),
    Mutant(
        "factor-of-254",
        _MXFP8,
        "arith::MaxSIOp::create(b, field, buildI32(b, 0, type))",
        "arith::MaxSIOp::create(b, field, buildI32(b, 1, type))",
    ),
    Mutant(
        "nan-group-on-gpu",
        _GROUP,
        "  return arith::MaxNumFOp::create(b, maxima, zero);",
        "  return maxima;",
    ),
    Mutant(
        "nan-group-on-cpu",
        _WORDS,
        "arith::SubIOp::create(b, arith::MaxSIOp::create(b, maxima, zero), zero)",
        "arith::SubIOp::create(b, maxima, zero)",
    ),
    Mutant(
        "sign-in-maximum-on-cpu", _WORDS, "arith::AndIOp>(bits, 0x7fff)", "arith::AndIOp>(bits, -1)"
    ),
    Mutant("words-merge", _WORDS, "upper.push_back(j + block / 2)", "upper.push_back(j)"),
    Mutant("words-nan", _WORDS, "(nan << shift) + rebias", "((nan - 1) << shift) + rebias"),
    Mutant("words-tie", _WORDS, "ShRUIOp>(least, shift), 1)", "ShRUIOp>(least, shift), 0)"),
    Mutant("words-subnormal", _WORDS, "mantissaBits + 23)", "mantissaBits + 24)"),
    Mutant(
        "words-sign-of-nan",
        _WORDS,
        "create(b, isNaN, normal, result)",
        "create(b, isNaN, result, result)",
    ),
    Mutant(
        "f8-subnormal-bound",
        _F8,
        "smallestNormal = (127 + leastExponent) << 23;",
        "smallestNormal = (128 + leastExponent) << 23;",
    ),
    Mutant(
        "f8-ties",
        _F8,
        "constant((1 << (shift - 1)) - 1)), odd);",
        "constant(1 << (shift - 1))), constant(0));",
    ),
    Mutant("f8-odd-last", _F8, "std::min(i + 1, size - 1)", "std::min(i + 1, size - 2)"),
    Mutant(
        "f8-high-and-low", _F8, "b, b.getI16Type(), high, low,", "b, b.getI16Type(), low, high,"
    ),
    Mutant("bf16-product-tie", _BF16, "ugt, lower, 0x8000)", "uge, lower, 0x8000)"),
    Mutant("bf16-rounded-nan", _BF16, "if (!keepsNaN(op) && !isExactNumber(op)) {", "if (false) {"),
    Mutant("bf16-other-vectors", _BF16, "llvm::all_of(op->getUsers(), isOp)", "true"),
    Mutant(
        "bf16-relu-infinity", _BF16, "ule, bits, kBF16Infinity)", "ult, bits, kBF16Infinity)"
    ),
    Mutant("scf-odd-columns", _SCF, "\n  buildSpan(whole, columns, 1);\n", "\n"),
    Mutant(
        "scf-padding-columns",
        _SCF,
        "    if (isSwizzled)\n      buildZeroScales(row, groups,",
        "    if (!isSwizzled)\n      buildZeroScales(row, groups,",
    ),
    Mutant(
        "kernel-whole-columns",
        _WARP_IR,
        "std::max<int64_t>(getChunkColumns(), getPaddedTo())",
        "getChunkColumns()",
    ),
    Mutant(
        "kernel-last-vector",
        _CHUNKS,
        "Value last = arith::SubIOp::create(b, vectors, buildI32(b, 1));",
        "Value last = vectors;",
    ),
    Mutant(
        "kernel-scale-rows",
        _WARP_KERNEL,
        "buildMul(b, buildRowTileCount(b, rows), kScaleTileRows) : rows;",
        "rows : rows;",
    ),
    Mutant(
        "kernel-small-by-warps",
        _ROWS,
        "arith::CmpIPredicate::ule, op.getRows(), kernel.warps)",
        "arith::CmpIPredicate::ult, op.getRows(), kernel.warps)",
    ),
    Mutant(
        "kernel-small-by-ctas",
        _ROWS,
        "arith::CmpIPredicate::ule, chunks,",
        "arith::CmpIPredicate::ult, chunks,",
    ),
    Mutant(
        "grid-of-large-dense-inputs",
        "lib/Launch/GridRule.h",
        "return {choose(earlyGrid.x, grid.x), choose(earlyGrid.y, grid.y)};",
        "return {choose(earlyGrid.x, earlyGrid.x), choose(earlyGrid.y, earlyGrid.y)};",
    ),
    Mutant(
        "quads-of-single-rows",
        _QUADS,
        "  if (op.getDead()) {\n    ImplicitLocOpBuilder early",
        "  if (!op.getDead()) {\n    ImplicitLocOpBuilder early",
    ),
    Mutant(
        "quads-columns-of-the-last-tile",
        _QUADS,
        "  if (!shape.isWhole)\n    isStored",
        "  if (shape.isWhole)\n    isStored",
    ),
    Mutant(
        "scales-of-spare-lanes",
        _GROUPS,
        "moe::buildIf(b, buildLess(b, inGroup, buildI32(b, shape.steps)), store);",
        "store();",
    ),
    # Rows that are gathered.
    Mutant(
        "gather-entry-past-x",
        "lib/Conversion/IndexArithmetic.cpp",
        "arith::CmpIPredicate::ult, token, tokens",
        "arith::CmpIPredicate::ule, token, tokens",
    ),
    Mutant(
        "gather-quads-of-single-rows",
        _QUADS,
        "buildAdd(b, arith::SubIOp::create(b, first, inQuad), lane)",
        "buildAdd(b, first, lane)",
    ),
    Mutant(
        "gather-factor-of-token",
        _SCF,
        "memref::LoadOp::create(b, probs, live.row)",
        "memref::LoadOp::create(b, probs, live.source)",
    ),
    Mutant(
        "gather-loaded-early",
        "lib/Transforms/ChooseSchedule.cpp",
        "    schedule.earlyBytes = 0;\n    schedule.keepsX = true;\n",
        "    schedule.keepsX = true;\n",
    ),
    Mutant(
        "gather-checks-rows-of-x",
        _CHECKS,
        "checks.dim(paddingAware.getRowsOperand(), 0)",
        "checks.dim(paddingAware.getX(), 0)",
    ),
    # Fusion, checks at run time, moe-run.
    Mutant(
        "fuse-gather-of-defined-rows",
        "lib/Transforms/FuseQuantize.cpp",
        "return op.getDeadRows() == DeadRows::Untouched &&",
        "return true ||",
    ),
    Mutant(
        "fuse-other-map",
        "lib/Transforms/FuseQuantize.cpp",
        "if (activation.getPermutationMap() != store.getPermutationMap())",
        "if (!activation.getPermutationMap())",
    ),
    Mutant(
        "fuse-other-n-used",
        "lib/Transforms/FuseQuantize.cpp",
        "if (activation.getNUsed() != store.getNUsed())",
        "if (!activation.getNUsed())",
    ),
    Mutant(
        "fuse-modes",
        "lib/IR/MXFP8.cpp",
        "DeadScalesAttr::get(getContext(), getDeadScales())",
        "DeadScalesAttr::get(getContext(), DeadScales::Zero)",
    ),
    Mutant(
        "fuse-what-computes",
        "lib/Transforms/FuseQuantize.cpp",
        "if (!store.isIdentity())",
        "if (false)",
    ),
    Mutant(
        "fact-square-of-nan",
        "lib/IR/MapRows.cpp",
        "return {get(op.getLhs()).mayBeNaN, false};",
        "return {false, false};",
    ),
    Mutant(
        "fact-maximum-is-negative",
        "lib/IR/MapRows.cpp",
        "return {lhs.mayBeNaN && rhs.mayBeNaN, !isPositive && !isNonNegative};",
        "return {lhs.mayBeNaN && rhs.mayBeNaN, false};",
    ),
    Mutant(
        "kernels-of-other-regions",
        "lib/Conversion/MoeToGPU.cpp",
        "OperationEquivalence::isRegionEquivalentTo(",
        "!OperationEquivalence::isRegionEquivalentTo(",
    ),
    Mutant(
        "fuse-two-uses",
        "lib/Transforms/FuseQuantize.cpp",
        "if (!activation->hasOneUse())",
        "if (activation->use_empty())",
    ),
    Mutant(
        "check-scale-columns",
        "include/moe/IR/ScaleLayout.h",
        "a.ceilDivByPowerOfTwo(columns, groupSize * kScaleTileColumns)",
        "a.ceilDivByPowerOfTwo(columns, groupSize)",
    ),
    Mutant(
        "check-columns-of-destination",
        _CHECKS,
        "checks.expectEqual(checks.dim(matrix, 1), columns,",
        "checks.expectEqual(columns, columns,",
    ),
    Mutant(
        "check-linear-rows",
        _CHECKS,
        "checks.dim(scale, 0), rows,",
        "rows, rows,",
    ),
    Mutant(
        "bufferize-untouched-scale",
        "lib/Transforms/BufferizableOpInterfaceImpl.cpp",
        "padded.getFormat().getDeadScales() == DeadScales::Untouched",
        "false",
    ),
    Mutant(
        "run-contiguous-innermost",
        "tools/moe-run/Npy.cpp",
        "if (dim + 1 == rank && array.strides[dim] == 1)",
        "if (dim + 1 == rank)",
    ),
    Mutant(
        "run-read-only-destination",
        "tools/moe-run/Output.cpp",
        "if (std::error_code code = fs::access(output.path, fs::AccessMode::Write))",
        "if (std::error_code code = fs::access(output.path, fs::AccessMode::Exist))",
    ),
    Mutant(
        "run-special-destination",
        "tools/moe-run/Output.cpp",
        "if (!fs::is_regular_file(status))",
        "if (fs::is_directory(status))",
    ),
    Mutant(
        "run-chip-with-a-letter",
        "tools/moe-run/Device.cpp",
        "chip.capability <= capability && llvm::isDigit(chip.name.back())",
        "chip.capability <= capability",
    ),
    Mutant(
        "run-newest-chip",
        "tools/moe-run/Device.cpp",
        "chip.capability <= capability &&",
        "chip.capability < capability &&",
    ),
    Mutant(
        "run-offset",
        "tools/moe-run/Binding.cpp",
        "if (ShapedType::isStatic(offset) && offset != 0)",
        "if (ShapedType::isStatic(offset) && offset < 0)",
    ),
    Mutant(
        "run-saves-same-file",
        "tools/moe-run/moe-run.cpp",
        "if (other.path == save->path)",
        "if (other.index == save->index)",
    ),
    # Tokens and rows.
    Mutant("route-last-of-a-token", _ROUTE, "buildAtomicMax(b, tokenRows, inTile, row);",
           "store(row, tokenRows, inTile);"),
    Mutant("route-rows-of-the-last-tile", _ROUTE, "store(none, tokenRows, inTile);", ""),
    Mutant("route-past-the-valid", _ROUTE, "arith::SubIOp::create(b, valid, token), tileTokens)",
           "arith::SubIOp::create(b, tokens, token), tileTokens)"),
    Mutant("route-cluster-no-barrier", _ROUTE_CLUSTER,
           "    buildClusterWait(b);\n    addUpExperts();", "    addUpExperts();"),
    Mutant("route-cluster-ends", _ROUTE_CLUSTER,
           "mlir::moe::buildIf(b, isLast, [&] { buildClusterArrive(b, /*isRelaxed=*/true); });", ""),
    Mutant("route-cluster-pairs-of-others", _ROUTE_CLUSTER, "buildBelow(b, lane, rank), ofCTA",
           "buildBelow(b, rank, lane), ofCTA"),
    Mutant("route-cluster-valid-of-all", _ROUTE_CLUSTER,
           "arith::MinSIOp::create(b, buildMul(b, valid, topk), endPair)",
           "arith::MinSIOp::create(b, ownPairs, endPair)"),
    Mutant("route-cluster-no-room", _ROUTE_CLUSTER, "arith::CmpIPredicate::sge, row, rows",
           "arith::CmpIPredicate::sgt, row, rows"),
    Mutant("route-cluster-next-window", _ROUTE_CLUSTER,
           "forInverse(buildMul(b, nextWindow, kExpertsOfCluster)",
           "forInverse(buildMul(b, window, kExpertsOfCluster)"),
    Mutant("route-cluster-first-tile", _ROUTE_CLUSTER,
           "buildLess(b, nextBegin, endPair)", "buildLess(b, nextBegin, zero)"),
    Mutant("route-cluster-threshold", "lib/Launch/GridRule.h", "kLeastPairsOfClusters = 6145",
           "kLeastPairsOfClusters = 6144"),
    Mutant("route-cpu-no-room", "lib/Conversion/PermutationToSCF.cpp",
           "arith::SelectOp::create(b, exists, word, none)",
           "arith::SelectOp::create(b, exists, word, word)"),
    Mutant("unpermute-third-row", "lib/Conversion/PermutationToGPU/UnpermuteKernel.cpp",
           "if (i > least) {", "if (i > least + 1) {"),
    Mutant("unpermute-cpu-nan", "lib/Conversion/UnpermuteArithmetic.cpp",
           "APInt(32, 0x7fffffff)", "APInt(32, 0x7fc00000)"),
    Mutant("run-bf16-nan", "tools/moe-run/Runtime.cpp", "isNaN ? bits | 0x400000", "isNaN ? bits"),
]
