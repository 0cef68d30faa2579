"""Installs what requirements.txt locks for Lambda's platform, and removes what Lambda does not need of it."""

import csv
import shutil
from collections.abc import Collection
from pathlib import Path

from infra.aws_data import prune as prune_aws_data
from infra.building import Target, run
from infra.interpreters import find_uv

PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""uv's name of the platform by Lambda's name of the architecture: Amazon Linux 2023 has glibc 2.34, so 2.28 is safe."""

METADATA = ("METADATA", "entry_points.txt", "licenses", "LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt")
"""What stays of a .dist-info folder: what importlib.metadata answers version() and entry_points() from (pydantic asks
for its plugins, opentelemetry for its context), and the licences' texts."""

NOT_NEEDED = ("*.pyi", "py.typed", "__pycache__", "tests")
"""Files and folders that nothing reads at run time. `test` and `testing` stay: some packages import theirs."""


def install(site: Path, requirements: Path, target: Target) -> None:
    """Installs the locked packages into a folder, as wheels for the target, each checked against its hash.

    Args:
        site: the folder, which may hold other things already.
        requirements: pinned versions with hashes; a line without one is refused.
        target: its architecture is a key of PLATFORMS.

    Raises:
        BuildError: uv is missing or refuses; holds its reason.
    """
    what = ("--target", site, "--requirement", requirements)
    version = ("--python", target.interpreter, "--python-version", target.python)
    # The lock is complete; a source distribution would be built for this machine; with links instead of copies, what is
    # done to the artifact would be done to uv's own cache
    rules = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy")
    command = (find_uv(), "pip", "install", "--quiet", *what, *version, *rules)
    run("installing the dependencies", *command, "--python-platform", PLATFORMS[target.arch])


def prune(site: Path, aws_services: Collection[str]) -> dict[str, int]:
    """Removes what is not needed at run time; the folder must hold installed packages and nothing else.

    Args:
        site: the folder that `install` filled.
        aws_services: the services whose data botocore keeps.

    Returns:
        The bytes of every package that are left, by its name.
    """
    owners = _owners(site)
    (site / ".lock").unlink(missing_ok=True)  # uv's
    shutil.rmtree(site / "bin", ignore_errors=True)
    for pattern in NOT_NEEDED:
        for path in list(site.rglob(pattern)):
            remove(path)
    if (site / "botocore").is_dir():
        prune_aws_data(site, aws_services)
    for folder in site.glob("*.dist-info"):
        for path in list(folder.iterdir()):
            if path.name not in METADATA:
                remove(path)
    left = dict.fromkeys(sorted(set(owners.values())), 0)
    for entry, name in owners.items():
        left[name] += size(site / entry)
    return left


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files below a folder; 0 when there is none."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; follows no link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _owners(site: Path) -> dict[str, str]:
    """Returns which package each entry of the folder came with, as the packages' RECORD files list them."""
    owners: dict[str, str] = {}
    for record in sorted(site.glob("*.dist-info/RECORD")):
        name = record.parent.name.partition("-")[0].replace("_", "-")
        for row in csv.reader(record.read_text(encoding="utf-8").splitlines()):
            owners.setdefault(Path(row[0]).parts[0], name)
    return owners
