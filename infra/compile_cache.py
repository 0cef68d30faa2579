"""Ships the plugins' machine code with the artifact: wasmtime's cache, made on this CPU by the artifact's own extism.

An entry is found again by wasmtime's version, the module's bytes and the CPU's features, not by the folder's path. With
another CPU or another extism it is a miss, and the guest is compiled at the start as if there were no cache.
"""

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from handler.modules import ModuleRefused, prepare
from infra import compile_guests
from infra.building import BuildError, Target, environment, run_any

FOLDER = "compile-cache"
ENTRY = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64; what wasmtime writes beside has a suffix
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class CacheOff(Exception):
    """The cache cannot be made here; the message says why."""


def make(out: Path, modules: Sequence[Path], target: Target) -> dict[str, float]:
    """Compiles the modules into the artifact's cache, and checks in a second process that it is found.

    Args:
        out: the artifact, with its dependencies installed.
        modules: the plugins' modules, below `out`.
        target: what the artifact is for.

    Returns:
        The milliseconds that each module takes from the cache on this machine, by its path relative to `out`.

    Raises:
        CacheOff: this machine is of another kind than the artifact, or the entries are not found again.
        BuildError: a module cannot be compiled.
    """
    machine = MACHINES.get(platform.machine().lower(), platform.machine())
    if (sys.platform, machine) != ("linux", target.arch):
        raise CacheOff(f"the artifact is for linux {target.arch}, this machine is {sys.platform} {machine}")
    folder = out / FOLDER
    folder.mkdir()
    try:
        _compile(out, modules, target)
        made = _entries(folder)
        milliseconds = _compile(out, modules, target)
        if not made or _entries(folder) != made:
            raise CacheOff("wasmtime did not find the entries that it had just made")
    except CacheOff:
        shutil.rmtree(folder)
        raise
    _remove_bookkeeping(folder)
    return milliseconds


def _compile(out: Path, modules: Sequence[Path], target: Target) -> dict[str, float]:
    """Compiles the modules as Extism gets them, in a process of its own whose cache is the artifact's folder."""
    with tempfile.TemporaryDirectory() as scratch:
        configuration = Path(scratch) / "configuration.toml"
        # JSON's string literals are TOML's too
        configuration.write_text(f"[cache]\ndirectory = {json.dumps(str(out / FOLDER))}\n", encoding="utf-8")
        prepared = {_prepare(module, Path(scratch) / f"{at}.wasm"): module for at, module in enumerate(modules)}
        program = (target.interpreter, "-P", "-s", "-S", "-B", compile_guests.__file__)
        done = run_any(*program, out, *prepared, env=environment(EXTISM_CACHE_CONFIG=str(configuration)))
        reason = done.stderr.strip()
        for path, module in prepared.items():
            reason = reason.replace(str(path), str(module))
    if done.returncode == compile_guests.CANNOT_RUN:
        raise CacheOff(f"this machine cannot run the artifact's extism: {reason}")
    if done.returncode:
        raise BuildError(f"compiling the plugins: {reason or f'ended with {done.returncode}'}")
    answer: dict[str, float] = json.loads(done.stdout)
    return {os.path.relpath(module, out): answer[str(path)] for path, module in prepared.items()}


def _prepare(module: Path, path: Path) -> Path:
    """Writes the module as the handler will give it to Extism."""
    try:
        path.write_bytes(prepare(module.read_bytes()).code)
    except ModuleRefused as refused:
        raise BuildError(f"compiling the plugins: {module}: {refused}") from refused
    return path


def _entries(folder: Path) -> set[tuple[str, int]]:
    """Returns the entries as file names and inodes: a miss writes a new file, even when its name was there before."""
    return {(path.name, path.stat().st_ino) for path in folder.rglob("*") if ENTRY.fullmatch(path.name)}


def _remove_bookkeeping(folder: Path) -> None:
    """Removes wasmtime's statistics and locks: they differ from build to build, and Lambda cannot write them."""
    for path in list(folder.rglob("*")):
        if path.is_file() and not ENTRY.fullmatch(path.name):
            path.unlink()
