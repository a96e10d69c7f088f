# Finds MOE_PTXAS and MOE_FATBINARY, of CUDA 13 or newer: older ones lack some of the chips. They
# are, where the cache does not name them, the first pair in a CUDA toolkit that the environment
# names, on the PATH, and in build/venv, where scripts/setup.sh puts them.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

# The major release of a ptxas, 0 if it does not run.
function(moe_get_ptxas_release ptxas result)
  execute_process(COMMAND ${ptxas} --version OUTPUT_VARIABLE text ERROR_QUIET
                  RESULT_VARIABLE ignored)
  if(text MATCHES "release ([0-9]+)")
    set(${result} ${CMAKE_MATCH_1} PARENT_SCOPE)
  else()
    set(${result} 0 PARENT_SCOPE)
  endif()
endfunction()

# What an earlier configuration found may be gone.
foreach(tool MOE_PTXAS MOE_FATBINARY)
  if(NOT EXISTS "${${tool}}")
    unset(MOE_PTXAS CACHE)
    unset(MOE_FATBINARY CACHE)
  endif()
endforeach()

if(NOT MOE_PTXAS)
  set(folders)
  foreach(variable CUDA_ROOT CUDA_HOME CUDA_PATH)
    if(NOT "$ENV{${variable}}" STREQUAL "")
      file(TO_CMAKE_PATH "$ENV{${variable}}/bin" folder)
      list(APPEND folders ${folder})
    endif()
  endforeach()
  file(TO_CMAKE_PATH "$ENV{PATH}" path)
  file(GLOB wheels ${PROJECT_SOURCE_DIR}/build/venv/lib/python3*/site-packages/nvidia/cu*/bin)
  foreach(folder ${folders} ${path} ${wheels})
    if(EXISTS ${folder}/ptxas AND EXISTS ${folder}/fatbinary)
      moe_get_ptxas_release(${folder}/ptxas release)
      if(release GREATER_EQUAL 13)
        set(MOE_PTXAS ${folder}/ptxas CACHE FILEPATH "ptxas of CUDA 13 or newer")
        set(MOE_FATBINARY ${folder}/fatbinary CACHE FILEPATH "fatbinary of the same")
        break()
      endif()
    endif()
  endforeach()
endif()

if(MOE_PTXAS AND MOE_FATBINARY)
  moe_get_ptxas_release(${MOE_PTXAS} release)
  if(release LESS 13)
    message(FATAL_ERROR "MOE_PTXAS: expected ptxas of CUDA 13 or newer, found ${MOE_PTXAS}")
  endif()
  set(MOE_HAS_CUDA_TOOLS ON)
  message(STATUS "ptxas of CUDA ${release}: ${MOE_PTXAS}")
else()
  set(MOE_HAS_CUDA_TOOLS OFF)
endif()
