"""Fixtures for tests of the Lambda artifact."""

import platform
from hashlib import sha256
from pathlib import Path

import pytest

from infra.artifact import PYTHONS, BuildReport, build
from infra.building import BuildError, Target
from infra.compile_cache import MACHINES
from infra.interpreters import find_interpreter
from tests.lambda_parts import Parts, Unavailable, find_parts


def contents(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of modification and hash of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="session")
def target() -> Target:
    """A Lambda runtime of this machine's architecture whose Python is here; 3.13 where there is a choice."""
    reasons = []
    for python in sorted(PYTHONS, key=lambda version: version != "3.13"):
        try:
            return Target(python, MACHINES[platform.machine().lower()], find_interpreter(python))
        except BuildError as error:
            reasons.append(str(error))
    pytest.skip("; ".join(reasons))


@pytest.fixture(scope="session")
def artifact(target: Target, tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    """This project's own artifact, built once; nobody may write into it."""
    return build(tmp_path_factory.mktemp("artifact"), target.python, target.arch)


@pytest.fixture(scope="session")
def other_artifact(target: Target, tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    """The same for the architecture that this machine has not, built once; nobody may write into it."""
    other = {"x86_64": "arm64", "arm64": "x86_64"}[target.arch]
    return build(tmp_path_factory.mktemp("other-artifact"), target.python, other)


@pytest.fixture(scope="session")
def runtime_parts(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """What Lambda's runtime is made of; skips where it cannot be had."""
    try:
        return find_parts(target, tmp_path_factory.mktemp("runtime"))
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project that can be built fast: one module of a handler, one plugin as text, one dependency."""
    root = tmp_path / "project"
    (root / "handler").mkdir(parents=True)
    (root / "handler" / "main.py").write_text("def handler(event, context):\n    return event\n")
    plugin = root / "plugins" / "tiny"
    plugin.mkdir(parents=True)
    (plugin / "plugin.toml").write_text('wasm = "tiny.wat"\nfunctions = ["run"]\n')
    (plugin / "tiny.wat").write_text('(module (func (export "run") (result i32) (i32.const 0)))')
    lock = (Path(__file__).parent.parent / "requirements.txt").read_text()
    start = lock.index("six==")
    (root / "requirements.txt").write_text(lock[start : lock.index("\nstarlette==")])
    return root
