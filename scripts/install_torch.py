# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Installs scripts/requirements-torch.txt into the environment that runs this.

The PyTorch of the package index is built for CUDA and wants libraries of 2 GB. On a machine with a
CUDA driver they are installed. On any other they are never called, yet the loader asks for them,
so empty ones stand in for them, made here by the C compiler. CUDA's runtime, which PyTorch asks
for devices, is the real one, from scripts/requirements-cuda.txt.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))
TORCH = SITE / "torch" / "lib"
REQUIREMENTS = Path(__file__).resolve().with_name("requirements-torch.txt")
# The requirements of PyTorch that are made for a GPU.
FOR_CUDA = re.compile(r"(nvidia|cuda|triton)\b")
# The symbols of CUDA's libraries but for its runtime, all of them C functions or data.
OF_CUDA = re.compile(r" U ((?:cu(?!da)|nccl|nv)\w+)(?:@+(\S+))?")


def pip(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet",
                    "--disable-pip-version-check", *map(str, arguments)], check=True)


def can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def imports(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"],
                          capture_output=True).returncode == 0


def requirements_without_cuda() -> list[str]:
    """What PyTorch needs besides, as pip writes it, without what is for a GPU."""
    extras = re.compile(r"extra\s*==")
    return [requirement for requirement in importlib.metadata.requires("torch") or []
            if not FOR_CUDA.match(requirement) and not extras.search(requirement)]


def needed_by(library: Path) -> list[str]:
    text = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True,
                          check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", text)


def find_missing() -> tuple[list[Path], set[str]]:
    """PyTorch's libraries that its extension module leads to, and those of others that they need
    and that are nowhere.
    """
    # Stand-ins that an earlier run made are no files of the package.
    packaged = {Path(path).name for path in importlib.metadata.files("torch") or []}
    installed = {path.name for path in SITE.glob("nvidia/*/lib/*.so*")}
    queue = ["libtorch_python.so", "libtorch_global_deps.so", "libtorch_cuda_linalg.so"]
    own, seen, missing = [], set(), set()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in packaged:
            own.append(TORCH / name)
            queue += needed_by(TORCH / name)
        elif name not in installed and not can_load(name):
            missing.add(name)
    return own, missing


def make_stand_ins(libraries: list[Path], missing: set[str]) -> None:
    """A library for each that is missing, in PyTorch's own folder, that has what `libraries` take
    from CUDA. Some of it is asked for when they are loaded, the rest not before it is called.
    """
    text = subprocess.run(["nm", "-D", "--undefined-only", *map(str, libraries)],
                          capture_output=True, text=True, check=True).stdout
    symbols = dict(OF_CUDA.findall(text))
    code = "".join(f"void {symbol}(void) {{ __builtin_trap(); }}\n" for symbol in symbols)
    # The loader insists on a version where it was there when PyTorch was linked.
    versions: dict[str, list[str]] = {}
    for symbol, version in symbols.items():
        if version:
            versions.setdefault(version, []).append(symbol)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "versions.map"
        script.write_text("".join(f"{version} {{ {'; '.join(names)}; }};\n"
                                  for version, names in versions.items()))
        for name in sorted(missing):
            subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-w", "-fno-builtin",
                            f"-Wl,-soname,{name}", f"-Wl,--version-script={script}", "-x", "c",
                            "-", "-o", str(TORCH / name)], input=code, text=True, check=True)


def main() -> None:
    if can_load("libcuda.so.1"):
        pip("-r", REQUIREMENTS)
        return
    pip("--no-deps", "-r", REQUIREMENTS)
    # What was installed says what else it needs.
    matplotlib = next(line for line in REQUIREMENTS.read_text().splitlines()
                      if line.startswith("matplotlib"))
    pip("--no-warn-conflicts", matplotlib, *requirements_without_cuda())
    if not imports("torch"):
        own, missing = find_missing()
        print(f"setup: PyTorch without {', '.join(sorted(missing))}: there is no CUDA driver",
              flush=True)
        make_stand_ins(own, missing)
    subprocess.run([sys.executable, "-c", "import torch, matplotlib; print('setup: PyTorch',"
                    "torch.__version__); assert not torch.cuda.is_available()"], check=True)


if __name__ == "__main__":
    main()
