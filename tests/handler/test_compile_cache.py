"""The compile cache that is shipped with the artifact."""

import os
from pathlib import Path

import pytest

import handler.guest
from handler.compile_cache import VARIABLE, CacheState, CompileCache
from handler.guest import Module
from handler.plugins import load_spec
from tests import guests
from tests.conftest import MakePlugin


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration is set; what a test sets ends with it."""
    monkeypatch.setenv(VARIABLE, "")
    del os.environ[VARIABLE]


@pytest.fixture
def shipped(tmp_path: Path, make_plugin: MakePlugin) -> Path:
    """A folder of entries, as the build makes it: for the guest ECHO."""
    folder = tmp_path / "compile-cache"
    folder.mkdir()
    (tmp_path / "build.toml").write_text(f'[cache]\ndirectory = "{folder}"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path / "build.toml"))
        compile_with(CompileCache(), make_plugin("shipped", guests.ECHO))
    assert any(path.is_file() for path in folder.rglob("*"))
    return folder


def compile_with(cache: CompileCache, plugin: Path) -> CacheState:
    """Compiles a plugin; what the cache did for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler.guest, "compile_cache", cache)
        return Module(load_spec(plugin)).cache


def test_nothing_shipped_is_no_cache(tmp_path: Path, make_plugin: MakePlugin) -> None:
    """Without entries the cache is off, explicitly, since Extism would otherwise make one below HOME."""
    cache = CompileCache(tmp_path / "nothing")

    assert os.environ[VARIABLE] == ""
    assert compile_with(cache, make_plugin("one", guests.ECHO)) is CacheState.OFF


def test_a_configuration_that_is_set_stays(shipped: Path, tmp_path: Path, make_plugin: MakePlugin) -> None:
    """Who sets EXTISM_CACHE_CONFIG is obeyed: an empty one turns the cache off, another folder is used."""
    os.environ[VARIABLE] = ""
    assert compile_with(CompileCache(shipped), make_plugin("one", guests.ECHO)) is CacheState.OFF

    (tmp_path / "own.toml").write_text(f'[cache]\ndirectory = "{tmp_path / "own"}"\n')
    os.environ[VARIABLE] = str(tmp_path / "own.toml")
    assert compile_with(CompileCache(shipped), make_plugin("two", guests.ECHO)) is CacheState.MISS
    assert os.environ[VARIABLE] == str(tmp_path / "own.toml")


def test_a_shipped_entry_is_a_hit(shipped: Path, make_plugin: MakePlugin) -> None:
    """A module that was compiled by the build is not compiled again; one that was not, is."""
    cache = CompileCache(shipped)

    assert compile_with(cache, make_plugin("same", guests.ECHO)) is CacheState.HIT
    assert compile_with(cache, make_plugin("other", guests.COUNTER)) is CacheState.MISS
    assert compile_with(cache, make_plugin("again", guests.COUNTER)) is CacheState.HIT


def test_the_shipped_entries_are_not_touched(shipped: Path, make_plugin: MakePlugin) -> None:
    """What is compiled here stays out of the shipped folder, which can be read only in Lambda."""
    before = sorted(shipped.rglob("*"))

    compile_with(CompileCache(shipped), make_plugin("other", guests.COUNTER))

    assert sorted(shipped.rglob("*")) == before


def test_without_a_folder_to_write_to_there_is_no_cache(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, make_plugin: MakePlugin
) -> None:
    """Where no scratch folder can be made, the cache is off, and plugins are compiled."""

    def no_room(**_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("tempfile.mkdtemp", no_room)

    assert compile_with(CompileCache(shipped), make_plugin("one", guests.ECHO)) is CacheState.OFF


@pytest.mark.parametrize("text", ["[cache]\n", "directory = 1", "no toml", "[cache]\ndirectory = 1\n"])
def test_a_configuration_that_names_no_folder_is_not_reported_on(tmp_path: Path, text: str) -> None:
    """Where the cache's folder is not known, nothing is claimed about it."""
    (tmp_path / "odd.toml").write_text(text)
    os.environ[VARIABLE] = str(tmp_path / "odd.toml")

    cache = CompileCache()

    assert cache.entries() == frozenset()
    assert cache.state_since(cache.entries()) is CacheState.OFF
