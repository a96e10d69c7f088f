# -*- Python -*-
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# The configuration of the lit suite. lit.site.cfg.py of the build folder loads it and says
# where the tools are.

import os

import lit.formats
from lit.llvm import llvm_config
from lit.llvm.subst import ToolSubst

config.name = "moe-mlir"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
# Integration/ has a runner of its own (pytest).
config.excludes = ["Integration", "Inputs", "CMakeLists.txt"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.moe_obj_root, "test")

moe_tools_dir = os.path.join(config.moe_obj_root, "bin")
llvm_config.with_environment("PATH", moe_tools_dir, append_path=True)
# `not` runs what is on the PATH.
llvm_config.with_environment("PATH", config.llvm_tools_dir, append_path=True)
# [[$NAME]] lives to the end of a file, [[NAME]] to the next CHECK-LABEL.
config.environment["FILECHECK_OPTS"] = "-enable-var-scope"

config.substitutions.append(("%python", config.python_executable))
config.substitutions.append(("%moe_src", config.moe_src_root))
config.substitutions.append(("%moe_version", config.moe_version))
config.substitutions.append(("%moe_obj", config.moe_obj_root))
moe_plugin = os.path.join(config.moe_obj_root, "lib", "MoePlugin.so")
config.substitutions.append(("%moe_plugin", moe_plugin))
config.substitutions.append(("%llvm_tools", config.llvm_tools_dir))
config.substitutions.append(("%llvm_libs", config.llvm_libs_dir))

# PTX needs no CUDA toolkit; what goes on from there to a cubin needs the ptxas that CMake found.
if config.moe_ptxas:
    config.available_features.add("ptxas")
    config.substitutions.append(("%ptxas", config.moe_ptxas))
    config.substitutions.append(("%cuda_home", os.path.dirname(os.path.dirname(config.moe_ptxas))))

# A misspelt substitution would reach the tool as it is, and many a tool would take it for
# a file name; as a command of its own it fails.
config.substitutions.append((r"%(?!(?:s|S|p|t|T|dbg)\b)[a-zA-Z]\w*", "; unknown-substitution ;"))

# A tool that a build may lack is not substituted; a test of it then fails as not found.
llvm_config.add_tool_substitutions(
    [ToolSubst("moe-opt", unresolved="fatal")]
    + [ToolSubst(name, unresolved="ignore") for name in ("moe-lsp-server", "moe-only-opt", "moe-run",
                                                          "moe-translate")],
    [moe_tools_dir],
)
llvm_tools = ["FileCheck", "mlir-opt", "mlir-runner", "mlir-translate", "not", "split-file"]
llvm_config.add_tool_substitutions(
    [ToolSubst(name, unresolved="fatal") for name in llvm_tools], [config.llvm_tools_dir]
)
