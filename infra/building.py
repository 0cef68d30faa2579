"""What the steps of a build share: what they build for, the one error they raise, and running another program."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import CommandError

TASK_ROOT = "/var/task"
"""Where Lambda puts the unpacked artifact, read-only."""


class BuildError(CommandError):
    """The artifact cannot be built; the message names the thing, its value and the way out."""


@dataclass(frozen=True)
class Target:
    """What an artifact is built for.

    Attributes:
        python: the runtime's minor version, such as "3.13".
        arch: the function's architecture in Lambda's words, "x86_64" or "arm64".
        interpreter: a Python of that minor version that runs here.
    """

    python: str
    arch: str
    interpreter: Path


def environment(**extra: str) -> dict[str, str]:
    """Returns this process's environment for a child, without what would change the child's Python or its Extism.

    PYTHONPATH, PYTHONHOME and the like belong to the interpreter that runs now, not to the target's; EXTISM_* settings
    (debug information, core dumps) change wasmtime's configuration, and so the keys of its cache.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EXTISM_"))}
    return inherited | extra


def run_any(*command: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, whatever its exit code.

    Args:
        command: the program and its arguments.
        env: the program's whole environment; this process's own when None.

    Raises:
        BuildError: it cannot be started.
    """
    try:
        return subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True, env=env)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error


def run(what: str, *command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Runs a program to its end and returns what it printed.

    Args:
        what: the step, in words, for the error message ("installing the dependencies").
        command: the program and its arguments.
        env: the program's whole environment; this process's own when None.

    Raises:
        BuildError: it cannot be started, or its exit code is not 0; holds the last lines that it wrote.
    """
    done = run_any(*command, env=env)
    if done.returncode:
        written = (done.stdout + done.stderr).strip().splitlines()
        raise BuildError("\n".join([f"{what}: {Path(command[0]).name} ended with {done.returncode}:", *written[-12:]]))
    return done.stdout
