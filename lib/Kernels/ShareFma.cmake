# Has calls of llvm.fma on vectors go through functions, one for each type:
#
#   cmake -DSOURCE=kernels.ll -DRESULT=shared.ll -P ShareFma.cmake
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

# Brackets would keep elements of a list together, semicolons take them apart.
file(READ ${SOURCE} text)
string(REGEX MATCHALL "call <[0-9]+ x float> @llvm[.]fma[.]v[0-9]+f32" calls "${text}")
list(REMOVE_DUPLICATES calls)
foreach(call IN LISTS calls)
  string(REGEX MATCH "<([0-9]+) x float>" type "${call}")
  set(lanes ${CMAKE_MATCH_1})
  string(REPLACE "${call}(" "call ${type} @moe_fma_v${lanes}f32(" text "${text}")
  string(APPEND text
    "\ndefine internal ${type} @moe_fma_v${lanes}f32(${type} %a, ${type} %b, ${type} %c)\n"
    "    noinline nounwind willreturn memory(none) {\n"
    "  %result = ${call}(${type} %a, ${type} %b, ${type} %c)\n"
    "  ret ${type} %result\n"
    "}\n")
endforeach()
file(WRITE ${RESULT} "${text}")
