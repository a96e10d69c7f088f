# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What tests, benchmarks and examples of moe-mlir share; see README.md in the folder above.

Importing the package imports none of its modules: each has needs of its own.
"""
