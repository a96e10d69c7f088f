#!/usr/bin/env bash
# Looks at style with clang-format, clang-tidy, ruff and mypy, of the versions in
# scripts/requirements.txt. Wants a build: clang-tidy compiles as it does, and some headers are
# generated.
#
#   --all   clang-tidy over every C++ file, 20 minutes on 2 cores; else over those that need no MLIR,
#           and over what differs from main
#   --fix   formats the C++ files, and lets ruff mend what it can
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

all='' fix=''
for argument in "$@"; do
  case $argument in
    --all) all=1 ;;
    --fix) fix=1 ;;
    *) echo "lint: expected --all, --fix or nothing, found $argument" >&2; exit 2 ;;
  esac
done

bin=build/venv/bin
for file in "$bin/clang-tidy" build/compile_commands.json; do
  [ -e "$file" ] || { echo "lint: found no $file: run scripts/build.sh first" >&2; exit 1; }
done

# What is tracked and there, and what is new and not ignored; relative to here.
list() {
  git ls-files --cached --others --exclude-standard -- "$@" | sort -u |
    while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

status=0
step() {
  echo "lint: $1"
  shift
  "$@" || status=1
}

mapfile -t sources < <(list '*.c' '*.cpp' '*.h')
step clang-format "$bin/clang-format" ${fix:+-i} ${fix:---dry-run} -Werror "${sources[@]}"

# Headers are looked at through the files that include them.
tidied() {
  if [ -n "$all" ]; then
    list 'lib/*.cpp' 'tools/*.cpp'
  else
    list 'lib/Driver/*.cpp' 'lib/Launch/*.cpp' 'lib/MgpuRuntime/*.cpp' 'lib/Runtime/*.cpp' \
      tools/moe-run/Npy.cpp
    local base
    base=$(git merge-base HEAD main 2>/dev/null || echo HEAD)
    { git diff --name-only --diff-filter=d "$base" -- 'lib/*.cpp' 'tools/*.cpp'
      git ls-files --others --exclude-standard -- 'lib/*.cpp' 'tools/*.cpp'; }
  fi
}
mapfile -t units < <(tidied | sort -u)
# Two at a time, one line for a file that is clean.
step "clang-tidy of ${#units[@]} files" \
  xargs -P "$(nproc)" -n 4 "$bin/clang-tidy" -p build --quiet < <(printf '%s\n' "${units[@]}")

step ruff "$bin/ruff" check ${fix:+--fix} --no-cache --quiet .
step mypy "$bin/python" -m mypy --cache-dir build/mypy

[ $status -eq 0 ] && echo "lint: nothing found"
exit $status
