# How this project declares a library and a tool: compiled with LLVM's flags, linked with
# libMLIR.so once, exported as MoeMLIR::<name>.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

include(GNUInstallDirs)

# Where a binary finds what it needs, the same in a build tree and in a prefix, so that both
# can be moved: LLVM's libraries, which the distribution keeps outside of the loader's path,
# where they were linked from; this project's, of which the tools need some, relative to the
# tool.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
file(RELATIVE_PATH bin_to_lib "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
set(MOE_TOOL_RPATH "$ORIGIN/${bin_to_lib}" "$ORIGIN/../lib")
list(REMOVE_DUPLICATES MOE_TOOL_RPATH)

# Most of what it takes to compile a file are the headers of MLIR, and what is instantiated of
# their templates. So files are compiled together, some at a time, with the headers precompiled.
# Neither is for compiler caches: those keep objects of single files, and cannot keep what GCC
# makes of a precompiled header.
if(CMAKE_CXX_COMPILER_LAUNCHER)
  set(is_from_scratch OFF)
else()
  set(is_from_scratch ON)
endif()
option(MOE_PRECOMPILED_HEADERS "Precompile the headers of MLIR that most files include"
       ${is_from_scratch})
option(MOE_UNITY_BUILD "Compile several files of a library at a time"
       ${is_from_scratch})
set(MOE_UNITY_FILES 8 CACHE STRING "How many files MOE_UNITY_BUILD compiles at a time")

if(MOE_PRECOMPILED_HEADERS)
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/MLIRHeaders.cpp CONTENT "")
  add_library(MoeMLIRHeaders OBJECT ${PROJECT_BINARY_DIR}/MLIRHeaders.cpp)
  set_target_properties(MoeMLIRHeaders PROPERTIES POSITION_INDEPENDENT_CODE ON)
  llvm_update_compile_flags(MoeMLIRHeaders)
  target_precompile_headers(MoeMLIRHeaders PRIVATE
    <mlir/Dialect/Arith/IR/Arith.h>
    <mlir/Dialect/MemRef/IR/MemRef.h>
    <mlir/Dialect/Vector/IR/VectorOps.h>
    <mlir/IR/PatternMatch.h>)
endif()

# add_moe_library(<name> <sources>... [DEPENDS <tablegen targets>...] [LINK_LIBS <libs>...])
function(add_moe_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK_LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  add_library(MoeMLIR::${name} ALIAS ${name})
  # Static, yet linked into the plugin, which is a shared object.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  llvm_update_compile_flags(${name})
  set_target_properties(${name} PROPERTIES
    UNITY_BUILD ${MOE_UNITY_BUILD} UNITY_BUILD_BATCH_SIZE ${MOE_UNITY_FILES})
  if(MOE_PRECOMPILED_HEADERS)
    target_precompile_headers(${name} REUSE_FROM MoeMLIRHeaders)
  endif()
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  target_include_directories(${name} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${name} PUBLIC ${ARG_LINK_LIBS})
  mlir_target_link_libraries(${name} PUBLIC MLIR)
  target_link_libraries(${name} PUBLIC LLVM)
  install(TARGETS ${name} EXPORT MoeMLIRTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

# add_moe_executable(<name> <sources>... [LINK_LIBS <libs>...])
function(add_moe_executable name)
  cmake_parse_arguments(ARG "" "" "LINK_LIBS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  if(LLVM_USE_SANITIZER)
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tools/SanitizerOptions.cpp)
  endif()
  llvm_update_compile_flags(${name})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${LLVM_RUNTIME_OUTPUT_INTDIR}
    INSTALL_RPATH "${MOE_TOOL_RPATH}")
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tools)
  target_compile_definitions(${name} PRIVATE MOE_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${name} PRIVATE ${ARG_LINK_LIBS})
  mlir_target_link_libraries(${name} PRIVATE MLIR)
  target_link_libraries(${name} PRIVATE LLVM)
endfunction()

# add_moe_tool(<name> <sources>... [LINK_LIBS <libs>...]): an executable that is installed
function(add_moe_tool name)
  add_moe_executable(${name} ${ARGN})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()
