#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks: Debian packages, and a
# Python environment in build/venv. Can be run any number of times.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(cmake g++ ninja-build python3 python3-venv
          libmlir-22-dev llvm-22-dev llvm-22-tools mlir-22-tools)
missing=()
for package in "${packages[@]}"; do
  if ! dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
    missing+=("$package")
  fi
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "setup: all Debian packages are there"
fi

# A change of the pins makes the environment anew.
stamp=build/venv/requirements.txt
if ! cmp -s scripts/requirements.txt "$stamp"; then
  echo "setup: making build/venv"
  rm -rf build/venv
  mkdir -p build
  python3 -m venv build/venv
  build/venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r scripts/requirements.txt
  cp scripts/requirements.txt "$stamp"
else
  echo "setup: build/venv is up to date"
fi
