"""Extism's compile cache: machine code that is shipped with the artifact, and whether it was of use.

Wasmtime finds an entry by its own version, the module's bytes and the CPU's features, so that an artifact built on
another CPU can miss; then the module is compiled, which takes a second for a Go guest instead of 25 ms. It does not
tell which of the two it did. So it works in a folder of this process, in which the shipped entries are links: whatever
is no link there has been compiled here.
"""

import atexit
import os
import re
import shutil
import tempfile
import tomllib
from enum import StrEnum
from pathlib import Path

VARIABLE = "EXTISM_CACHE_CONFIG"
SHIPPED = Path(__file__).resolve().parent.parent / "compile-cache"
ENTRY = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64; what wasmtime writes beside it has a suffix


class CacheState(StrEnum):
    """What the cache did for a module."""

    HIT = "hit"
    MISS = "miss"
    OFF = "off"


class CompileCache:
    """The cache that this process compiles with; made once, before the first module.

    Sets EXTISM_CACHE_CONFIG unless it is set: without it Extism makes a cache below HOME and fails where it cannot, as
    on Lambda. Where nothing is shipped, or there is no folder to write to, the cache is off.

    Args:
        shipped: The folder of shipped entries; it need not exist.
    """

    def __init__(self, shipped: Path = SHIPPED) -> None:
        if VARIABLE not in os.environ:
            os.environ[VARIABLE] = _link(shipped) if shipped.is_dir() else ""
        configuration = os.environ[VARIABLE]
        self._folder = _directory(Path(configuration)) if configuration else None

    def entries(self) -> frozenset[Path]:
        """The entries that were not shipped."""
        if self._folder is None:
            return frozenset()
        return frozenset(
            path for path in self._folder.rglob("*") if ENTRY.fullmatch(path.name) and not path.is_symlink()
        )

    def state_since(self, before: frozenset[Path]) -> CacheState:
        """What the cache did since `entries` gave these; a compilation at the same time counts too."""
        if self._folder is None:
            return CacheState.OFF
        return CacheState.HIT if self.entries() <= before else CacheState.MISS


def _link(shipped: Path) -> str:
    """Makes a folder of links to the entries, and returns the path of its configuration; empty where it cannot."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix="extism-compile-cache-"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        configuration, folder = scratch / "configuration.toml", scratch / "entries"  # wasmtime deletes what is no entry
        folder.mkdir()
        for path in shipped.rglob("*"):
            link = folder / path.relative_to(shipped)
            if path.is_dir():
                link.mkdir()
            else:
                link.symlink_to(path)
        configuration.write_text(f'[cache]\ndirectory = "{folder}"\n', encoding="utf-8")
    except OSError:
        return ""
    return str(configuration)


def _directory(configuration: Path) -> Path | None:
    """The folder that a configuration names, or None where it leaves that to wasmtime or cannot be read."""
    try:
        return Path(tomllib.loads(configuration.read_text(encoding="utf-8"))["cache"]["directory"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
