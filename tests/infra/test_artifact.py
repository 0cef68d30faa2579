"""Tests of infra.artifact."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from infra import artifact as module
from infra.artifact import MARKER, BuildReport, build
from infra.building import BuildError, Target, environment
from infra.dependencies import size
from tests.artifact import contents

LIMITED = 20_000  # bytes: less than the small project's artifact has


def python(artifact: BuildReport, program: str) -> str:
    """Runs a program with the artifact and the standard library alone; returns what it printed."""
    command = [str(artifact.target.interpreter), "-I", "-S", "-B", "-W", "error", "-c"]
    program = f"import sys; sys.path.insert(0, {str(artifact.out)!r})\n{program}"
    env = environment(AWS_DEFAULT_REGION="eu-west-1", EXTISM_CACHE_CONFIG="")
    return subprocess.run([*command, program], check=True, capture_output=True, text=True, env=env).stdout


def test_two_builds_are_equal_byte_for_byte(artifact: BuildReport, tmp_path: Path) -> None:
    """A second build into another folder gives the same files, modes and times, compile cache included."""
    again = build(tmp_path / "again", artifact.target.python, artifact.target.arch)
    assert contents(again.out) == contents(artifact.out)
    assert again.parts == artifact.parts


def test_holds_what_runs_and_nothing_else(artifact: BuildReport) -> None:
    """The handler, each plugin's toml and module; no command line, tests, sources of plugins, stubs or scripts."""
    out = artifact.out
    names = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert {"handler/main.py", "plugins/simple/plugin.toml", "plugins/simple/simple.wasm"} <= names
    assert [path.name for path in sorted((out / "plugins" / "simple").iterdir())] == ["plugin.toml", "simple.wasm"]
    assert not {"infra", "tests", "bin", ".lock", "moto", "wasmtime"} & {path.name for path in out.iterdir()}
    assert not [name for name in names if name.endswith((".pyi", "py.typed", "/RECORD"))]


def test_every_module_has_byte_code_that_lambda_uses(artifact: BuildReport) -> None:
    """Each .py has its .pyc, by hash and unchecked, and its code names /var/task."""
    tag = "cpython-" + artifact.target.python.replace(".", "")
    for path in artifact.out.rglob("*.py"):
        byte_code = (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").read_bytes()
        assert byte_code[4:8] == b"\x01\x00\x00\x00", path  # PEP 552: hash-based, not checked
        assert f"/var/task/{path.relative_to(artifact.out)}".encode() in byte_code, path
        assert os.fsencode(artifact.out) not in byte_code, path


def test_handler_answers_from_the_artifact_alone(artifact: BuildReport) -> None:
    """The handler, its dependencies and the plugin need no other installed package and raise no warning."""
    answer = python(
        artifact,
        "import os, json; os.environ['EXTISM_LAMBDA_MEMORY'] = 'map'\n"
        "class Context:\n"
        "    aws_request_id = 'id'\n"
        "    def get_remaining_time_in_millis(self): return 60_000\n"
        "from handler.main import handler\n"
        "import boto3; boto3.client('dynamodb')\n"
        "print(json.dumps(handler({'input': 'Jane Doe'}, Context())))",
    )
    assert json.loads(answer)["output"].splitlines() == [
        "👋 Hello Jane Doe",
        "key: hello, value: 👋 Hello World 🌍",
        "key: message, value: I 💜 Extism 😍",
    ]


def test_metadata_answers_versions_and_entry_points(artifact: BuildReport) -> None:
    """importlib.metadata finds versions and entry points, as pydantic and opentelemetry ask for at run time."""
    answer = python(
        artifact,
        "from importlib.metadata import entry_points, version\n"
        "print(version('fastapi'), version('pydantic-core'))\n"
        "print(*[entry.name for entry in entry_points(group='opentelemetry_context')])",
    )
    versions, contexts = answer.splitlines()
    lock = (Path(module.ROOT) / "requirements.txt").read_text()
    fastapi, core = versions.split()
    assert f"fastapi=={fastapi} " in lock
    assert f"pydantic-core=={core} " in lock
    assert contexts == "contextvars_context"


def test_parts_add_up(artifact: BuildReport) -> None:
    """The report's parts are the artifact's bytes, and the packages are the part of the dependencies."""
    assert artifact.total == size(artifact.out)
    assert sum(artifact.packages.values()) == artifact.parts["dependencies"]
    assert artifact.parts["handler"] == sum(path.stat().st_size for path in (artifact.out / "handler").rglob("*.py"))
    assert artifact.packages["extism-sys"] > 10_000_000
    assert artifact.parts["other"] < 1000


def test_files_are_readable_by_others(artifact: BuildReport) -> None:
    """Lambda's user is not the files' owner: folders are 755 and files 644 whatever the umask."""
    assert {path.stat().st_mode & 0o777 for path in artifact.out.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in [artifact.out, *artifact.out.rglob("*/")]} == {0o755}


def test_replaces_a_former_artifact(project: Path, target: Target, tmp_path: Path) -> None:
    """A folder that carries the marker is emptied first, so that nothing of the former build stays."""
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).touch()
    (out / "former.py").touch()
    build(out, target.python, target.arch, root=project)
    assert not (out / "former.py").exists()
    assert (out / MARKER).exists()


def test_leaves_a_folder_alone_that_is_not_its_own(project: Path, target: Target, tmp_path: Path) -> None:
    """A folder that holds something else is refused, and nothing in it is touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(BuildError, match="mine is not empty and no artifact"):
        build(tmp_path / "mine", target.python, target.arch, root=project)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_refuses_a_file_as_its_folder(project: Path, target: Target, tmp_path: Path) -> None:
    """Where the folder should be is a file: refused, and it stays."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BuildError, match="is not a folder"):
        build(tmp_path / "out", target.python, target.arch, root=project)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("existed", [True, False])
def test_too_large_an_artifact_is_refused(project: Path, target: Target, tmp_path: Path, existed: bool) -> None:
    """Over the limit: an error that names the size, the limit and the biggest part, and no half artifact stays."""
    out = tmp_path / "out"
    if existed:
        out.mkdir()
    with pytest.raises(BuildError, match=r"the artifact has [\d,]+ bytes, allowed are 20,000; biggest are: .*six"):
        build(out, target.python, target.arch, root=project, limit=LIMITED)
    assert out.exists() == existed
    assert not existed or not any(out.iterdir())


def test_ctrl_c_leaves_no_half_artifact(project: Path, target: Target, tmp_path: Path) -> None:
    """An interruption at any step leaves the folder as it would be after an error."""

    def interrupt(step: str) -> None:
        if step == "Compiling the byte code":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "out", target.python, target.arch, root=project, progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_reports_each_step(project: Path, target: Target, tmp_path: Path) -> None:
    """Progress is told in words, step by step."""
    steps: list[str] = []
    build(tmp_path / "out", target.python, target.arch, root=project, progress=steps.append)
    assert steps == [
        f"Installing the dependencies for Python {target.python} on {target.arch}",
        "Copying the handler and the plugins",
        "Compiling the plugins",
        "Compiling the byte code",
    ]


def test_refuses_a_python_that_lambda_has_not(tmp_path: Path) -> None:
    """A Python without a fitting runtime is refused with those that are allowed."""
    with pytest.raises(BuildError, match=r"Python '3\.11': allowed are 3\.12, 3\.13, 3\.14"):
        build(tmp_path / "out", "3.11")


def test_refuses_an_unknown_architecture(tmp_path: Path) -> None:
    """An architecture that Lambda has not is refused with those that are allowed."""
    with pytest.raises(BuildError, match="architecture 'riscv': allowed are x86_64, arm64"):
        build(tmp_path / "out", arch="riscv")


def test_another_architecture_gets_its_own_binaries_and_no_cache(other_artifact: BuildReport) -> None:
    """For the other architecture the libraries are of that kind, and the report says that the cache is off, and why."""
    report, other = other_artifact, other_artifact.target.arch
    assert report.cache == "off"
    assert f"the artifact is for linux {other}, this machine is" in report.cache_reason
    assert report.parts["compile-cache"] == 0
    assert not list(report.out.glob("compile-cache*"))
    library = (report.out / "extism_sys" / "libextism_sys.so").read_bytes()
    machine = int.from_bytes(library[18:20], "little")  # ELF header, e_machine
    assert machine == {"x86_64": 62, "arm64": 183}[other]


def test_lock_without_hashes_is_refused(project: Path, target: Target, tmp_path: Path) -> None:
    """A requirement without a hash is not installed."""
    (project / "requirements.txt").write_text("six==1.17.0\n")
    with pytest.raises(BuildError, match=r"installing the dependencies(?s:.*)hash(?s:.*)six"):
        build(tmp_path / "out", target.python, target.arch, root=project)
