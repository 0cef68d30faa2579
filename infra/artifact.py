"""Builds the Lambda artifact: a folder that holds exactly what runs in /var/task, the same bytes at every build.

Two builds of the same sources on one machine are equal, file by file, times and modes included. From machine to machine
`compile-cache/` may differ (it depends on the CPU's features) and the byte code (on the Python's patch release).
"""

import json
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from infra import aws_data, byte_code, compile_cache, dependencies
from infra.building import BuildError, Target
from infra.interpreters import find_interpreter
from infra.plugin_files import copy, plugin_files

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.12", "3.13", "3.14")
"""Lambda's Pythons on Amazon Linux 2023; the glibc of those before is too old for the wheels."""
LIMIT = 262_144_000
"""Lambda's limit for an unzipped artifact, in bytes (250 MB in AWS's words)."""
MARKER = ".extism-lambda"
"""The file by which a folder is known as an artifact of ours, which a new build may replace."""
MODIFIED = 946_728_000  # 2000-01-01T12:00:00Z: in every time zone after 1980, where zip's calendar begins


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Attributes:
        out: the artifact's folder.
        target: what it is for, and the Python that compiled its byte code.
        cache: "made", or "off" when the plugins will be compiled at every cold start.
        cache_reason: why the cache is off, else empty.
        cached: milliseconds to load each module from the cache on this machine, by path.
        parts: bytes by part; together the whole artifact.
        packages: bytes of each dependency without byte code, by name; together the part "dependencies".
        uncompiled: modules of dependencies that have no byte code, because they are no valid Python.
    """

    out: Path
    target: Target
    cache: str
    cache_reason: str
    parts: dict[str, int]
    packages: dict[str, int]
    cached: dict[str, float] = field(default_factory=dict)
    uncompiled: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The unzipped size in bytes."""
        return sum(self.parts.values())


def build(
    out: Path,
    python: str = "3.13",
    arch: str = "x86_64",
    *,
    root: Path = ROOT,
    aws_services: Collection[str] = aws_data.SERVICES,
    limit: int = LIMIT,
    progress: Callable[[str], None] = lambda _: None,
) -> BuildReport:
    """Builds the artifact into a folder.

    Args:
        out: the folder: one that does not exist, is empty, or holds an artifact of an earlier build, which is replaced.
            When the build fails, it is left empty.
        python: the runtime's minor version, one of PYTHONS.
        arch: the function's architecture, "x86_64" or "arm64".
        root: the project, with requirements.txt, handler/ and plugins/.
        aws_services: the services that a boto3 client can be made for; the data of others is left out.
        limit: the most bytes that the artifact may have.
        progress: called with a few words at the start of each step.

    Raises:
        BuildError: it cannot be built; says why and what to do.
    """
    if python not in PYTHONS:
        raise BuildError(f"Python {python!r}: allowed are {', '.join(PYTHONS)}")
    if arch not in dependencies.PLATFORMS:
        raise BuildError(f"architecture {arch!r}: allowed are {', '.join(dependencies.PLATFORMS)}")
    out, root = out.absolute(), root.absolute()
    target = Target(python, arch, find_interpreter(python))
    files = plugin_files(root)  # before anything is written: most mistakes are there
    existed = out.exists()
    _take(out)
    try:
        report = _fill(out, root, files, target, aws_services=aws_services, progress=progress)
        _check_size(report, limit)
    except BaseException:  # Ctrl-C too: half an artifact must not look like one
        _empty(out)
        if not existed:
            out.rmdir()
        raise
    return report


def _fill(
    out: Path,
    root: Path,
    files: Collection[Path],
    target: Target,
    *,
    aws_services: Collection[str],
    progress: Callable[[str], None],
) -> BuildReport:
    """Makes all parts of the artifact in an empty folder; the plugins' files are relative to the project."""
    (out / MARKER).write_text(json.dumps({"python": target.python, "arch": target.arch}) + "\n", encoding="utf-8")
    progress(f"Installing the dependencies for Python {target.python} on {target.arch}")
    dependencies.install(out, root / "requirements.txt", target)
    packages = dependencies.prune(out, aws_services)

    progress("Copying the handler and the plugins")
    shutil.copytree(root / "handler", out / "handler", ignore=shutil.ignore_patterns("__pycache__", "*.pyi", ".*"))
    modules = copy(root, out, files)

    progress("Compiling the plugins")
    cached: dict[str, float] = {}
    cache, reason = "made", ""
    try:
        cached = compile_cache.make(out, modules, target)
    except compile_cache.CacheOff as off:
        cache, reason = "off", str(off)

    sources = {name: dependencies.size(out / name) for name in ("handler", "plugins", compile_cache.FOLDER)}
    before = dependencies.size(out)

    progress("Compiling the byte code")
    uncompiled = byte_code.compile_all(out, target.interpreter)
    _normalise(out)

    total = dependencies.size(out)
    parts = {"dependencies": sum(packages.values()), **sources, "byte code": total - before}
    parts["other"] = total - sum(parts.values())
    return BuildReport(out, target, cache, reason, parts, packages, cached, uncompiled)


def _take(out: Path) -> None:
    """Makes the folder exist and be empty; deletes nothing but a former artifact."""
    if out.exists() and not out.is_dir():
        raise BuildError(f"{out} is not a folder")
    if out.exists() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise BuildError(f"{out} is not empty and no artifact ({MARKER} is missing); give an empty or a new folder")
    out.mkdir(parents=True, exist_ok=True)
    _empty(out)


def _empty(folder: Path) -> None:
    for path in list(folder.iterdir()):
        dependencies.remove(path)


def _check_size(report: BuildReport, limit: int) -> None:
    if report.total > limit:
        parts = sorted([*report.parts.items(), *report.packages.items()], key=lambda part: -part[1])
        biggest = ", ".join(f"{name} {size:,}" for name, size in parts[:5])
        raise BuildError(f"the artifact has {report.total:,} bytes, allowed are {limit:,}; biggest are: {biggest}")


def _normalise(out: Path) -> None:
    """Gives all files one time and mode: Lambda's user can read them whatever the umask, and a zip is the same."""
    for path in [*out.rglob("*"), out]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (MODIFIED, MODIFIED))
