# The libraries that run without LLVM: they need the C library and nothing else. The CUDA driver is
# opened when they run.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

include_guard()
include(CheckLinkerFlag)
find_package(Threads REQUIRED)

# OldGlibc.h asks for functions by the versions that they had in libdl and libpthread of glibc up
# to 2.33. There, the libraries must be loaded; later ones have both for programs of that time.
set(moe_old_glibc
  "-Wl,--push-state,--no-as-needed,-l:libdl.so.2,-l:libpthread.so.0,--pop-state")
check_linker_flag(C "${moe_old_glibc}" MOE_LINKS_OLD_GLIBC)
if(NOT MOE_LINKS_OLD_GLIBC)
  set(moe_old_glibc)
endif()

# Settings for C++ that needs no C++ library.
function(moe_needs_c_library_alone target)
  set_target_properties(${target} PROPERTIES
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  target_compile_features(${target} PRIVATE cxx_std_17)
  target_compile_options(${target} PRIVATE -fno-exceptions -fno-rtti
    -include ${PROJECT_SOURCE_DIR}/lib/Driver/OldGlibc.h)
endfunction()

# add_moe_runtime_library(NAME SOURCE...) builds lib<NAME>.so, which exports what <NAME>.map says.
function(add_moe_runtime_library name)
  set(exports ${CMAKE_CURRENT_SOURCE_DIR}/${name}.map)
  add_library(${name} SHARED ${ARGN})
  add_library(MoeRuntime::${name} ALIAS ${name})
  moe_needs_c_library_alone(${name})
  set_target_properties(${name} PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${LLVM_LIBRARY_OUTPUT_INTDIR}
    LINK_DEPENDS ${exports}
    # Keeps the C++ library out of what is needed.
    LINKER_LANGUAGE C)
  target_include_directories(${name} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:MoeDriver> Threads::Threads
                        ${CMAKE_DL_LIBS})
  # What a sanitizer adds is in the program.
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${exports} $<$<NOT:$<BOOL:${LLVM_USE_SANITIZER}>>:-Wl,-z,defs>
    -Wl,--exclude-libs,ALL ${moe_old_glibc})
  install(TARGETS ${name} EXPORT MoeRuntimeTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT MoeRuntime)
endfunction()
