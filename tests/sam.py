"""The SAM CLI, run in a clean checkout as a user of it would, and without anybody's AWS account."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.building import BuildError, environment, run
from infra.interpreters import find_interpreter, find_uv
from infra.template import FUNCTION
from tests.lambda_parts import SAM_CLI, Unavailable

ROOT = Path(__file__).resolve().parent.parent
BUILT = Path(".aws-sam", "build")
"""Where `sam build` leaves what it makes, below the folder it runs in."""
FUNCTION_FOLDER = FUNCTION
"""Where the function's artifact lies in there."""
SECONDS = 240.0
"""How long a command may take on a busy machine; a build installs, compiles and checks for some twenty."""
GRACE_SECONDS = 30.0
"""How long a server may take to remove its containers."""


@dataclass(frozen=True)
class Sam:
    """The SAM CLI in one folder.

    Attributes:
        folder: Where it runs, and where template.yaml and samconfig.toml are.
        command: What its own arguments come after.
    """

    folder: Path
    command: tuple[str, ...]

    def __call__(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end.

        The exit code of `sam local invoke` says nothing: it is 0 also when the function crashed.
        """
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=self.folder,
            env=environment_of_a_stranger(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextmanager
    def server(self, log: Path, *arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
        """Runs a command that serves until Ctrl-C, which is pressed at the end of the block.

        Args:
            log: A file for what it prints.
            *arguments: The command and its options.
        """
        with log.open("wb") as output:
            process = subprocess.Popen(
                # A background job of a script, as which CI may run us, ignores Ctrl-C, and so would what it starts.
                ["env", "--default-signal=INT", *self.command, *map(str, arguments)],
                cwd=self.folder,
                env=environment_of_a_stranger(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # uv and SAM under it: Ctrl-C is for both
            )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def environment_of_a_stranger() -> dict[str, str]:
    """The environment of somebody who has no AWS account, no settings of ours and no active environment of Python's."""
    ours = ("AWS_ACCESS", "AWS_SECRET", "AWS_REGION", "AWS_DEFAULT", "UV_PROJECT", "VIRTUAL_ENV")
    inherited = environment(SAM_CLI_TELEMETRY="0")
    return {name: value for name, value in inherited.items() if not name.startswith(ours)}


def check_out(folder: Path) -> Path:
    """Copies what the repository holds, or would with the next commit, and nothing that was built or installed.

    Raises:
        Unavailable: This is no git repository, so nobody knows what that is.
    """
    listing = ("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        names = run("listing the repository", *listing).split("\0")
    except BuildError as error:
        raise Unavailable(str(error)) from error
    for name in names:
        if name and (ROOT / name).is_file():  # the index still lists what was deleted since
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """The SAM CLI in a clean checkout; skips where it cannot be had."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed, which `sam build` needs")
    try:
        command = (find_uv(), "tool", "run", "--quiet", "--from", SAM_CLI, "sam")
        find_interpreter("3.13")  # the template's runtime
        run("installing the SAM CLI", *command, "--version", env=environment(SAM_CLI_TELEMETRY="0"))
        return Sam(check_out(tmp_path_factory.mktemp("checkout")), command)
    except (BuildError, Unavailable) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def sam_artifact(sam: Sam) -> Path:
    """The artifact that a plain `sam build` made; nobody may write into it."""
    built = sam("build")
    assert built.returncode == 0, built.stderr
    return sam.folder / BUILT / FUNCTION_FOLDER
