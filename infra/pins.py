"""Writes the exact versions of all dependencies: `uv run python -m infra.pins`.

Two places hold them, and neither records a download address:

* `pyproject.toml`, `[tool.uv] constraint-dependencies`: one version for every package of every dependency group, which
  `uv run` and `uv sync` obey.
* `requirements.txt`: what ships to Lambda, with the hashes of every file that may be installed for it.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import tomlkit
from tomlkit.items import Table

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# What ships to Lambda, with hashes. Written by `uv run python -m infra.pins`; do not edit.
"""


def _uv(folder: Path, *arguments: str) -> str:
    """Runs uv in a folder and returns what it printed."""
    command = ["uv", *arguments, "--quiet", "--directory", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _export(folder: Path, *arguments: str) -> str:
    return _uv(folder, "export", "--no-emit-project", "--no-header", "--no-annotate", *arguments)


def main() -> None:
    """Resolves the newest allowed versions without the present constraints, and writes both places."""
    pyproject = tomlkit.parse((ROOT / "pyproject.toml").read_text())
    tool = pyproject["tool"]
    if not isinstance(tool, Table):
        raise SystemExit("pyproject.toml: [tool] is missing")
    constraints = tomlkit.array().multiline(True)
    tool["uv"]["constraint-dependencies"] = constraints
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "pyproject.toml").write_text(tomlkit.dumps(pyproject))
        for name in ("README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        _uv(folder, "lock")
        for line in _export(folder, "--all-groups", "--no-hashes").splitlines():
            constraints.append(line)
        requirements = _export(folder, "--no-default-groups")
    (ROOT / "pyproject.toml").write_text(tomlkit.dumps(pyproject))
    (ROOT / "requirements.txt").write_text(HEADER + requirements)


if __name__ == "__main__":
    main()
