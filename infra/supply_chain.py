"""Checks what ships to Lambda: `uv run python -m infra.supply_chain`.

* Every package of requirements.txt is pinned with hashes, and has a licence that permits shipping it. The licences are
  those that the installed packages state; this needs no network.
* None has a known vulnerability, as pip-audit tells. Where it cannot ask, or is told nothing, as behind a mirror of the
  package index, that is said, and does not fail the check: what was not asked is not known.
"""

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.building import BuildError, run_any

ROOT = Path(__file__).resolve().parent.parent
AUDITOR = "pip-audit==2.9.0"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==\S+(?: ; [^\\]*)? ?(.*)$")

PERMITTED = frozenset({"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"})
"""SPDX identifiers of licences that ask for no more than a notice."""

OTHER_WORDS = {
    "Apache License 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
}
"""What packages state that do not state SPDX identifiers yet."""

STATED_ELSEWHERE = {"extism-sys": "BSD-3-Clause"}
"""Packages whose metadata are silent: the licence of the repository that they are built from (extism/extism)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        problems: What must be put right.
        told: What the check itself could not do, or has to say.
    """

    problems: list[str]
    told: str = ""


def pinned(requirements: str) -> list[str]:
    """The names of the packages of a requirements.txt.

    Raises:
        BuildError: One of them has no hash.
    """
    names = []
    for requirement in re.sub(r"\\\n\s*", " ", requirements).splitlines():
        if not requirement.strip() or requirement.startswith("#"):
            continue
        found = PINNED.match(requirement)
        if not found or "--hash=sha256:" not in requirement:
            raise BuildError(f"requirements.txt: {requirement[:60]!r} is not pinned with a hash")
        names.append(found[1])
    return names


def licence(name: str, metadata: Mapping[str, Any]) -> str:
    """The SPDX expression of a package's licence; empty where it states none that is known."""
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    stated = [metadata.get("License") or "", *classifiers(metadata)]
    known = [OTHER_WORDS.get(words, words) for words in stated if OTHER_WORDS.get(words, words) in PERMITTED]
    return " OR ".join(dict.fromkeys(known)) or STATED_ELSEWHERE.get(name, "")


def classifiers(metadata: Any) -> list[str]:
    """The classifiers of a package that tell a licence."""
    return [words for words in metadata.get_all("Classifier") or [] if words.startswith("License ::")]


def permitted(expression: str) -> bool:
    """Whether an SPDX expression names permitted licences only, or offers one to choose."""
    alternatives = [re.split(r"\s+AND\s+", part) for part in re.split(r"\s+OR\s+", expression.replace("(", " "))]
    return any(all(one.strip(" )") in PERMITTED for one in alternative) for alternative in alternatives)


def check_licences(names: Iterable[str]) -> Verdict:
    """Reads the licences of installed packages."""
    problems, count = [], 0
    for name in names:
        count += 1
        try:
            expression = licence(name, importlib.metadata.metadata(name))  # type: ignore[arg-type]  # a mapping indeed
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed: its licence cannot be read")
            continue
        if not permitted(expression):
            problems.append(
                f"{name}: licence {expression or 'unknown'!r} is not permitted: expected {', '.join(sorted(PERMITTED))}"
            )
    return Verdict(problems, f"licences of {count} packages read")


def read_audit(code: int, output: str, errors: str) -> Verdict:
    """What pip-audit's answer means.

    Args:
        code: Its exit code: 1 also where a vulnerability was found.
        output: Its JSON, if it came so far.
        errors: What it wrote to stderr.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, LookupError, TypeError):
        last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        return Verdict([], f"vulnerabilities NOT CHECKED: pip-audit could not ask: {last[:200]}")
    problems = [
        f"{package['name']} {package['version']}: {found['id']} (fixed in {', '.join(found['fix_versions']) or 'none'})"
        for package in packages
        for found in package.get("vulns", [])
    ]
    asked = [package for package in packages if "skip_reason" not in package]
    if len(asked) < len(packages):
        return Verdict(problems, f"vulnerabilities NOT CHECKED for {len(packages) - len(asked)} of {len(packages)}")
    return Verdict(problems, f"vulnerabilities of {len(packages)} packages asked for")


def audit(requirements: Path) -> Verdict:
    """Asks pip-audit about a requirements.txt."""
    arguments = ["--requirement", str(requirements), "--require-hashes", "--disable-pip", "--format", "json"]
    command = ["uv", "tool", "run", "--quiet", "--from", AUDITOR, "pip-audit", "--progress-spinner", "off", *arguments]
    try:
        done = run_any(*command)
    except BuildError as error:
        return Verdict([], f"vulnerabilities NOT CHECKED: {error}")
    return read_audit(done.returncode, done.stdout, done.stderr)


def main() -> None:
    """Runs the checks, prints what they found, and exits with 1 where something must be put right."""
    requirements = ROOT / "requirements.txt"
    verdicts = [check_licences(pinned(requirements.read_text(encoding="utf-8"))), audit(requirements)]
    for verdict in verdicts:
        sys.stdout.writelines(f"{line}\n" for line in [verdict.told, *verdict.problems])
    if any(verdict.problems for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
