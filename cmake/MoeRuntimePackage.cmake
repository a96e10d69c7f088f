# The installed package of the runtime libraries, for programs that have no MLIR: what
# `cmake --install <build> --component MoeRuntime` installs, and every installation has.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/MoeRuntime)
configure_package_config_file(cmake/MoeRuntimeConfig.cmake.in
  ${PROJECT_BINARY_DIR}/cmake/MoeRuntimeConfig.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/MoeRuntimeConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/cmake/MoeRuntimeConfig.cmake
  ${PROJECT_BINARY_DIR}/cmake/MoeRuntimeConfigVersion.cmake
  DESTINATION ${config_dir} COMPONENT MoeRuntime)
install(EXPORT MoeRuntimeTargets NAMESPACE MoeRuntime:: DESTINATION ${config_dir}
  COMPONENT MoeRuntime)

# Relative to where the file lies, so that the prefix can be moved.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(full_pkgconfig_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pkgconfig_to_lib ${full_pkgconfig_dir} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH pkgconfig_to_include ${full_pkgconfig_dir}
     ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/moe-runtime.pc.in ${PROJECT_BINARY_DIR}/cmake/moe-runtime.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cmake/moe-runtime.pc DESTINATION ${pkgconfig_dir}
  COMPONENT MoeRuntime)

install(DIRECTORY include/moe-c DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT MoeRuntime)
install(DIRECTORY include/moe/Runtime DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/moe
  COMPONENT MoeRuntime)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT MoeRuntime)
