"""Tests of infra.compile_cache."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.artifact import BuildReport
from infra.building import BuildError, Target, environment
from infra.compile_cache import CacheOff, make

WITH_LIMITS = """
import sys; sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from pathlib import Path
from handler.guest import Module
from handler.plugins import Limits, load_catalog
for spec in load_catalog(Path(sys.argv[1], "plugins")).values():
    limits = Limits(memory_pages=77, timeout_ms=1234)
    Module(replace(spec, limits=limits, allowed_hosts=("localhost",), config={"a": "b"}))
"""


@pytest.fixture
def moved(artifact: BuildReport, tmp_path: Path) -> Path:
    """The artifact in another folder, as Lambda has it."""
    return Path(shutil.copytree(artifact.out, tmp_path / "moved"))


def entries(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Inode and content of every entry of a cache: wasmtime replaces a file, it never writes into one."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "." not in path.name]
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in paths}


def test_entries_are_found_after_a_move(artifact: BuildReport, moved: Path) -> None:
    """From another folder, with other limits, hosts and config, every plugin is a hit: nothing is written."""
    before = entries(moved / "compile-cache")
    assert len(before) == 3  # two plugins and Extism's own module
    configuration = moved / "configuration.toml"
    configuration.write_text(f'[cache]\ndirectory = "{moved / "compile-cache"}"\n')
    env = environment(EXTISM_CACHE_CONFIG=str(configuration))
    subprocess.run([artifact.target.interpreter, "-I", "-S", "-B", "-c", WITH_LIMITS, moved], check=True, env=env)
    assert entries(moved / "compile-cache") == before


def test_holds_entries_and_no_bookkeeping(artifact: BuildReport) -> None:
    """Neither statistics nor locks are shipped."""
    files = [path for path in (artifact.out / "compile-cache").rglob("*") if path.is_file()]
    assert {len(path.name) for path in files} == {43}


def test_reports_how_long_a_hit_takes(artifact: BuildReport) -> None:
    """The report tells the milliseconds from the cache for every plugin."""
    assert artifact.cache == "made"
    assert set(artifact.cached) == {"plugins/lookup/lookup.wasm", "plugins/simple/simple.wasm"}
    assert all(spent > 0 for spent in artifact.cached.values())


def test_foreign_machine_has_no_cache(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another kind of machine than the artifact's no cache can be made, and the reason names both."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(CacheOff, match=f"the artifact is for linux {target.arch}, this machine is linux riscv64"):
        make(tmp_path, [], target)


def test_artifact_that_cannot_run_here_has_no_cache(target: Target, tmp_path: Path) -> None:
    """Where the artifact's extism cannot be imported, the cache is off, and no half of it stays."""
    with pytest.raises(CacheOff, match="this machine cannot run the artifact's extism: No module named 'extism'"):
        make(tmp_path, [], target)
    assert not list(tmp_path.iterdir())


def test_cache_that_is_not_found_again_is_off(moved: Path, target: Target) -> None:
    """Where wasmtime gives another entry at the second time, nothing is shipped that would be of no use."""
    shutil.rmtree(moved / "compile-cache")
    # stands for any reason to miss: this extism has a new module whenever it is asked
    shutil.rmtree(moved / "extism" / "__pycache__")
    (moved / "extism" / "extism.py").write_text(
        "import os, pathlib\n"
        "class Error(Exception): ...\n"
        "class CompiledPlugin:\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        text = pathlib.Path(os.environ['EXTISM_CACHE_CONFIG']).read_text()\n"
        "        folder = pathlib.Path(text.split('\"')[1])\n"
        "        (folder / str(len(list(folder.iterdir()))).rjust(43, '0')).touch()\n"
    )
    (moved / "extism" / "__init__.py").write_text("")
    with pytest.raises(CacheOff, match="wasmtime did not find the entries that it had just made"):
        make(moved, [moved / "plugins" / "simple" / "simple.wasm"], target)
    assert not (moved / "compile-cache").exists()


def test_module_that_does_not_compile_is_told(moved: Path, target: Target) -> None:
    """A plugin that is no valid module stops the build; the message names it."""
    shutil.rmtree(moved / "compile-cache")
    broken = moved / "plugins" / "simple" / "simple.wasm"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(BuildError, match=r"compiling the plugins: .*simple\.wasm"):
        make(moved, [broken], target)


def test_settings_of_this_process_do_not_change_the_keys(
    artifact: BuildReport, moved: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extism's debugging settings change wasmtime's configuration and so the keys: they do not reach the build."""
    monkeypatch.setenv("EXTISM_DEBUG", "1")
    monkeypatch.setenv("EXTISM_COREDUMP", os.devnull)
    monkeypatch.setenv("EXTISM_PROFILE", "perf")
    shutil.rmtree(moved / "compile-cache")
    make(moved, sorted(moved.glob("plugins/*/*.wasm")), target)
    assert entries(moved / "compile-cache").keys() == entries(artifact.out / "compile-cache").keys()
