"""Machine code that is shipped with the artifact, and whether it was of use.

Extism reads EXTISM_CACHE_CONFIG at every compilation, so each test that compiles does it in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from handler.compile_cache import VARIABLE, CacheState, CompileCache

COMPILE = """
import json, os, sys
from pathlib import Path
from handler.compile_cache import CompileCache
cache = CompileCache(Path(sys.argv[1]))
from extism.extism import CompiledPlugin
states = []
for number in range(int(sys.argv[2])):
    before = cache.entries()
    CompiledPlugin(f'(module (func (export "run{number}") (result i32) (i32.const {number})))'.encode(), functions=[])
    states.append(cache.state_since(before))
configuration = os.environ["EXTISM_CACHE_CONFIG"]
there = bool(configuration) and Path(configuration).is_file()
print(json.dumps({"states": states, "configuration": configuration, "there": there}))
"""


def compile_with(shipped: Path, modules: int = 1, **environ: str) -> tuple[list[str], str]:
    """Compiles modules in a new process; returns what the cache did for each, and EXTISM_CACHE_CONFIG."""
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    run = subprocess.run(
        [sys.executable, "-c", COMPILE, str(shipped), str(modules)],
        env=clean | environ,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    answer = json.loads(run.stdout)
    assert answer["there"] is bool(answer["configuration"]), "the configuration was lost on the way"
    return answer["states"], answer["configuration"]


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder of shipped entries for the first module that COMPILE compiles."""
    configuration = tmp_path / "build.toml"
    folder = tmp_path / "shipped"
    configuration.write_text(f'[cache]\ndirectory = "{folder}"\n')
    assert compile_with(tmp_path / "none", EXTISM_CACHE_CONFIG=str(configuration))[0] == ["miss"]
    return folder


def test_without_shipped_entries_the_cache_is_off(tmp_path: Path) -> None:
    """Where nothing is shipped, the variable is set to nothing, or Extism would make a cache below HOME."""
    assert compile_with(tmp_path / "none") == (["off"], "")


def test_a_shipped_module_is_a_hit_and_another_one_a_miss(shipped: Path, tmp_path: Path) -> None:
    """The first module is shipped, the second one is not."""
    states, _ = compile_with(shipped, 2, TMPDIR=str(tmp_path))

    assert states == ["hit", "miss"]


def test_a_missing_entry_falls_back_to_compiling(shipped: Path, tmp_path: Path) -> None:
    """With the folder there but empty, as for another CPU, the module is compiled and that is told."""
    shutil.rmtree(shipped)
    shipped.mkdir()

    assert compile_with(shipped, TMPDIR=str(tmp_path))[0] == ["miss"]


def test_what_was_compiled_here_is_a_hit_the_next_time(shipped: Path, tmp_path: Path) -> None:
    """Nothing is written to the shipped folder; a user's own configuration is left as it is and reported as well."""
    before = sorted(path.name for path in shipped.rglob("*"))
    own = tmp_path / "own.toml"
    own.write_text(f'[cache]\ndirectory = "{tmp_path / "own"}"\n')

    first = compile_with(shipped, 2, EXTISM_CACHE_CONFIG=str(own))
    second = compile_with(shipped, 2, EXTISM_CACHE_CONFIG=str(own))

    assert first == (["miss", "miss"], str(own))
    assert second == (["hit", "hit"], str(own))
    assert sorted(path.name for path in shipped.rglob("*")) == before


def test_many_compilations_do_not_lose_the_configuration(shipped: Path, tmp_path: Path) -> None:
    """Wasmtime deletes from its folder whatever is no entry; the configuration has to survive that."""
    states, configuration = compile_with(shipped, 40, TMPDIR=str(tmp_path))

    assert states == ["hit"] + ["miss"] * 39
    assert not Path(configuration).exists()  # it was there to the end, and is cleaned up with the process


def test_without_a_folder_to_write_to_the_cache_is_off(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No temporary folder: compiled without a cache, rather than not at all."""

    def refuse(**_: object) -> str:
        raise PermissionError("read-only")

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("handler.compile_cache.tempfile.mkdtemp", refuse)

    cache = CompileCache(shipped)

    assert os.environ[VARIABLE] == ""
    assert cache.state_since(cache.entries()) is CacheState.OFF


def test_a_configuration_that_names_no_folder_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked at is not called a hit."""
    own = tmp_path / "own.toml"
    own.write_text("[cache]\n")
    monkeypatch.setenv(VARIABLE, str(own))

    cache = CompileCache(tmp_path / "none")

    assert cache.state_since(cache.entries()) is CacheState.OFF


def test_the_links_lead_to_the_shipped_entries(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's folder holds a link for every shipped file, and counts none of them as its own."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("handler.compile_cache.tempfile.mkdtemp", lambda **_: str(_mkdir(tmp_path / "own")))

    cache = CompileCache(shipped)

    linked = {path.resolve() for path in (tmp_path / "own").rglob("*") if path.is_symlink()}
    assert linked == {path for path in shipped.rglob("*") if path.is_file()}
    assert cache.entries() == frozenset()
    assert cache.state_since(cache.entries()) is CacheState.HIT


def _mkdir(path: Path) -> Path:
    path.mkdir()
    return path
