"""Finds what Lambda's runtime is made of: the emulator, the runtime client, a Python, and a way to confine them."""

import functools
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.building import BuildError, Target, run
from infra.interpreters import find_uv

RUNTIME_CLIENT = "awslambdaric==4.2.2"
SAM_CLI = "aws-sam-cli==1.170.0"  # the wheel carries the emulator's binary
SEARCH_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # pivot_root lies there

FIND_EMULATOR = """
import importlib.util
print(importlib.util.find_spec("samcli").submodule_search_locations[0])
"""
FIND_BASE = "import os, sys; print(sys.base_prefix, os.path.realpath(sys.executable), sep='\\n')"


class Unavailable(Exception):
    """The runtime cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Runtime:
    """What a function's process is made of, besides the function.

    Attributes:
        client: a folder that holds the runtime client and what it imports.
        lang: the folder of the Python installation.
        interpreter: the Python's file name in `lang`/bin.
    """

    client: Path
    lang: Path
    interpreter: str


@dataclass(frozen=True)
class Parts:
    """What the runtime is made of.

    Attributes:
        emulator: the emulator's binary.
        client, lang, interpreter: as in Runtime.
        drop: who we are, "root" or "user", which says how the sandbox drops privileges.
    """

    emulator: Path
    client: Path
    lang: Path
    interpreter: str
    drop: str


def find_parts(target: Target, folder: Path) -> Parts:
    """Finds the emulator and installs the runtime client.

    Args:
        target: the Python to run, and this machine's architecture.
        folder: a folder to install into.

    Raises:
        Unavailable: this machine cannot run them; says why.
    """
    drop = _way_to_drop_privileges()
    try:
        runtime = find_runtime(target, folder)
        find = (find_uv(), "tool", "run", "--quiet", "--from", SAM_CLI, "python", "-c", FIND_EMULATOR)
        package = run("finding the emulator", *find).strip()
    except BuildError as error:
        raise Unavailable(str(error)) from error
    emulator = Path(package, "local", "rapid", f"aws-lambda-rie-{target.arch}")
    if not emulator.is_file():
        raise Unavailable(f"{SAM_CLI} has no {emulator.name}")
    return Parts(emulator, runtime.client, runtime.lang, runtime.interpreter, drop)


def find_runtime(target: Target, folder: Path) -> Runtime:
    """Finds Python's folder and installs the runtime client.

    Args:
        target: the Python to run, and this machine's architecture.
        folder: a folder to install into.

    Raises:
        BuildError: the client cannot be installed.
    """
    client = folder / "client"
    client.mkdir(mode=0o755)  # the sandbox's user has to read it
    install = (find_uv(), "pip", "install", "--quiet", "--compile-bytecode", "--python", target.interpreter)
    run("installing the runtime client", *install, "--target", client, RUNTIME_CLIENT)
    lang, interpreter = run("asking for Python's folder", target.interpreter, "-c", FIND_BASE).splitlines()
    return Runtime(client, Path(lang), Path(interpreter).name)


@functools.cache
def _way_to_drop_privileges() -> str:
    """Returns how a sandbox can be made here, after trying."""
    if platform.system() != "Linux":
        raise Unavailable(f"the runtime interface emulator runs on Linux, this is {platform.system()}")
    for program in ("unshare", "setpriv", "pivot_root"):
        if not shutil.which(program, path=SEARCH_PATH):
            raise Unavailable(f"{program} (util-linux) is not installed")
    drop = "root" if os.geteuid() == 0 else "user"
    tried = subprocess.run(
        [*unshare(drop), "mount", "-t", "proc", "proc", "/proc"], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        raise Unavailable(f"no namespaces for {drop} on this machine: {tried.stderr.strip()}")
    return drop


def unshare(drop: str) -> list[str]:
    """Returns the command that runs another one in namespaces of its own."""
    user = [] if drop == "root" else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
