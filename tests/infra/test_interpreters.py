"""Tests of infra.interpreters."""

import sys
from pathlib import Path

import pytest

from infra.building import BuildError
from infra.interpreters import find_interpreter, find_uv

RUNNING = "{}.{}".format(*sys.version_info)


def test_the_running_interpreter_comes_first() -> None:
    """Where the running interpreter fits, no other one is looked for."""
    assert find_interpreter(RUNNING) == Path(sys.executable)


def test_shim_that_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of the right name that is no Python of that version is not taken, and the error tells a way out."""
    shim = tmp_path / "python2.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    with pytest.raises(BuildError, match=r"no Python 2\.99 .*python2\.99 on PATH.*uv python install 2\.99"):
        find_interpreter("2.99")


def test_interpreter_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter on PATH is found by its name, when it is of that version."""
    found = tmp_path / f"python{RUNNING}"
    found.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert find_interpreter(RUNNING) == found


def test_pyenvs_versions_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some interpreters of pyenv are not on PATH; the newest release of the version is taken."""
    for release in (f"{RUNNING}.1", f"{RUNNING}.2"):
        folder = tmp_path / "versions" / release / "bin"
        folder.mkdir(parents=True)
        (folder / f"python{RUNNING}").symlink_to(sys.executable)
    pyenv = tmp_path / "bin" / "pyenv"
    pyenv.parent.mkdir()
    pyenv.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    pyenv.chmod(0o755)
    monkeypatch.setenv("PATH", str(pyenv.parent))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert find_interpreter(RUNNING) == tmp_path / "versions" / f"{RUNNING}.2" / "bin" / f"python{RUNNING}"


def test_uv_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without uv the error says how to get it."""
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="pip install uv"):
        find_uv()


def test_uv_that_runs_us_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """`uv run` names itself in UV, and need not be on PATH."""
    monkeypatch.setenv("UV", "/opt/uv")
    assert find_uv() == "/opt/uv"
