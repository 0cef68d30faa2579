"""Finds a Python interpreter of the version that Lambda will run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.building import BuildError, environment

PROBE = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.version_info.releaselevel)"


def find_uv() -> str:
    """Returns the uv that runs us (`uv run` names itself in UV), or else the one on PATH.

    Raises:
        BuildError: there is none.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise BuildError("uv is not on PATH; the dependencies are installed with it: pip install uv")
    return uv


def find_interpreter(version: str) -> Path:
    """Returns a CPython of exactly this minor version, the one that runs now where it fits.

    Byte code is the same for all releases of a minor version and for no other one, so a near miss does not help.

    Args:
        version: a minor version, such as "3.13".

    Raises:
        BuildError: there is none where one could be; says where it was looked for.
    """
    looked_at = []
    for where, path in _candidates(version):
        if path is not None and _is(path, version):
            return path
        looked_at.append(where)
    raise BuildError(
        f"no Python {version} on this machine to compile its byte code with (looked at: {', '.join(looked_at)}); "
        f"install one with: uv python install {version}"
    )


def _candidates(version: str) -> Iterator[tuple[str, Path | None]]:
    """Yields places to look at, as words and as the interpreter there if there may be one."""
    yield "the running one", Path(sys.executable)
    yield "uv python find", _answer([os.environ.get("UV") or "uv", "python", "find", version])
    on_path = shutil.which(f"python{version}")
    yield f"python{version} on PATH", Path(on_path) if on_path else None
    pyenv = _answer(["pyenv", "root"])
    # pyenv keeps versions that it does not put on PATH, and uv does not look there
    found = sorted((pyenv / "versions").glob(f"{version}.*/bin/python{version}")) if pyenv else []
    yield "pyenv's versions", found[-1] if found else None


def _answer(command: list[str]) -> Path | None:
    """Returns the path that a program prints, or None when there is no such program or it knows none."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return None
    answer = done.stdout.strip()
    return Path(answer) if done.returncode == 0 and answer else None


def _is(path: Path, version: str) -> bool:
    """Tells whether this is a released CPython of that minor version; what is on PATH may be a shim that fails."""
    try:
        done = subprocess.run(
            [str(path), "-S", "-c", PROBE], check=False, capture_output=True, text=True, env=environment()
        )
    except OSError:
        return False
    return done.stdout.split() == ["cpython", version, "final"]
