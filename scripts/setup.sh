#!/usr/bin/env bash
# Looks for what the build and the tests need, installs what this machine lacks (Debian packages,
# and a Python environment in build/venv), and says in a sentence what it cannot install. Can be
# run any number of times.
#
#   --with-torch   adds PyTorch, Triton and matplotlib to build/venv
#
# LLVM/MLIR 22 is looked for in MLIR_DIR (the folder of MLIRConfig.cmake), else where Debian has it.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

with_torch=
for argument in "$@"; do
  case $argument in
    --with-torch) with_torch=1 ;;
    *) echo "setup: expected --with-torch or nothing, found $argument" >&2; exit 2 ;;
  esac
done

# What is missing, in words, and the Debian packages that have it.
missing=()
packages=()
lacks() {
  missing+=("$1")
  packages+=("${@:2}")
}

# Whether version $1 is at least version $2.
reaches() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

look() {
  missing=()
  packages=()
  local version
  version=$(cmake --version 2>/dev/null | sed -n 's/^cmake version //p' || true)
  reaches "${version:-0}" 3.21 || lacks "CMake 3.21 or newer" cmake
  command -v ninja >/dev/null || lacks "Ninja" ninja-build
  { command -v "${CXX:-c++}" && command -v "${CC:-cc}"; } >/dev/null || lacks "a C++ compiler" g++
  command -v pkg-config >/dev/null || lacks "pkg-config" pkg-config
  # numpy of scripts/requirements.txt wants 3.11.
  python3 -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip, venv' 2>/dev/null ||
    lacks "Python 3.11 or newer with venv" python3 python3-venv
  if [ -n "${MLIR_DIR:-}" ]; then
    [ -f "$MLIR_DIR/MLIRConfig.cmake" ] || {
      echo "setup: MLIR_DIR: expected the folder of MLIRConfig.cmake, found $MLIR_DIR" >&2
      exit 1
    }
  else
    local llvm=/usr/lib/llvm-22 file
    for file in lib/cmake/mlir/MLIRConfig.cmake lib/cmake/llvm/LLVMConfig.cmake \
                bin/FileCheck bin/lit bin/mlir-opt; do
      if ! [ -e "$llvm/$file" ]; then
        lacks "LLVM/MLIR 22" libmlir-22-dev llvm-22-dev llvm-22-tools mlir-22-tools
        break
      fi
    done
  fi
}

# Ends with what is missing and $1, where it is had.
give_up() {
  local list
  list=$(printf ', %s' "${missing[@]}")
  echo "setup: this machine lacks ${list:2}: $1" >&2
  exit 1
}

look
if [ ${#missing[@]} -gt 0 ]; then
  elsewhere="install it from where this system has its software; LLVM/MLIR 22 may lie anywhere, \
with MLIR_DIR set to its lib/cmake/mlir (docs/install.md)"
  command -v apt-get >/dev/null || give_up "there is no apt-get here, so $elsewhere"
  root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      give_up "as root, run apt-get install --no-install-recommends ${packages[*]}"
    root=(sudo)
  fi
  echo "setup: installing ${packages[*]}"
  "${root[@]}" apt-get update -qq
  for package in "${packages[@]}"; do
    apt-cache show --no-all-versions "$package" >/dev/null 2>&1 && continue
    case $package in
      *-22-*) give_up "none of apt's sources has $package; Debian 12 has it in the suite \
bookworm-security, Debian 13 in trixie: add that to apt's sources, or set MLIR_DIR to the \
lib/cmake/mlir of an LLVM/MLIR 22 from elsewhere (docs/install.md)" ;;
      *) give_up "none of apt's sources has $package, so $elsewhere" ;;
    esac
  done
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  look
  [ ${#missing[@]} -eq 0 ] ||
    give_up "apt's packages ${packages[*]} are too old or incomplete, so $elsewhere"
else
  echo "setup: all that the build needs is there"
fi

pip() { build/venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }

# A change of the pins makes the environment anew.
stamp=build/venv/requirements.txt
if ! cat scripts/requirements.txt scripts/requirements-cuda.txt | cmp -s - "$stamp"; then
  echo "setup: making build/venv"
  rm -rf build/venv
  mkdir -p build
  python3 -m venv build/venv
  pip install -r scripts/requirements.txt
  pip install --no-deps -r scripts/requirements-cuda.txt
  cat scripts/requirements.txt scripts/requirements-cuda.txt >"$stamp"
else
  echo "setup: build/venv is up to date"
fi

# The package and the test support of this checkout are importable in place. The paths are relative
# to site-packages, so a checkout that moves, or another one that links to this build, has its own.
for folder in build/venv/lib/python3*/site-packages; do
  printf '../../../../../%s\n' python testing >"$folder/moe-checkout.pth"
done

if [ -n "$with_torch" ]; then
  stamp=build/venv/requirements-torch.txt
  if ! cmp -s scripts/requirements-torch.txt "$stamp"; then
    echo "setup: adding PyTorch to build/venv"
    build/venv/bin/python scripts/install_torch.py
    cp scripts/requirements-torch.txt "$stamp"
  else
    echo "setup: PyTorch is in build/venv"
  fi
fi
