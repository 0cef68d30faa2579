"""Tests of infra.supply_chain.

What pip-audit answers is written down here: there is no package to ask about whose vulnerabilities stay the same.
"""

import json
from email.message import Message
from typing import Any

import pytest

from infra.building import BuildError
from infra.supply_chain import ROOT, check_licences, licence, permitted, pinned, read_audit

HASH = "--hash=sha256:" + "0" * 64


def metadata(**fields: str | list[str]) -> Any:
    """A package's metadata; `_` in a field's name stands for `-`."""
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


def test_everything_that_ships_is_pinned_with_hashes() -> None:
    """requirements.txt pins every package with hashes; the four that pyproject.toml names are among them."""
    names = pinned((ROOT / "requirements.txt").read_text())

    assert {"boto3", "extism", "fastapi", "mangum"} <= set(names)


@pytest.mark.parametrize("line", ["boto3==1.0", "boto3>=1.0 " + HASH, "boto3", "git+https://example.invalid/boto3"])
def test_a_requirement_without_version_or_hash_is_refused(line: str) -> None:
    """The message names the requirement."""
    with pytest.raises(BuildError, match="is not pinned with a hash"):
        pinned(f"# head\nextism==1.1 \\\n    {HASH}\n{line}\n")


def test_the_licences_of_what_ships() -> None:
    """All packages that ship state a permitted licence."""
    assert check_licences(pinned((ROOT / "requirements.txt").read_text())).problems == []


def test_a_package_that_is_not_there_is_a_problem() -> None:
    """What is not installed cannot be checked, which fails."""
    (problem,) = check_licences(["no-such-package"]).problems

    assert problem.startswith("no-such-package is not installed")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License_Expression": "MIT"}, "MIT"),
        ({"License": "Apache License 2.0"}, "Apache-2.0"),
        ({"Classifier": ["Framework :: X", "License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"License": "Dual", "Classifier": ["License :: OSI Approved :: BSD License"]}, "BSD-3-Clause"),
        ({"License": "A licence of our own"}, ""),
        ({"Classifier": ["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"]}, ""),
        ({}, ""),
    ],
)
def test_where_a_licence_is_stated(fields: dict[str, str | list[str]], expected: str) -> None:
    """The SPDX expression comes first, then the old field and the classifiers; anything else is unknown."""
    assert licence("any", metadata(**fields)) == expected


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("(MIT OR Apache-2.0)", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only", False),
        ("", False),
    ],
)
def test_which_expressions_are_permitted(expression: str, *, allowed: bool) -> None:
    """One permitted alternative is enough; of licences that apply together, all have to be."""
    assert permitted(expression) == allowed


def test_a_vulnerability_is_a_problem() -> None:
    """It is named with the package, its version, and where it is fixed."""
    found = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
    packages = [{"name": "boto3", "version": "2.0", "vulns": [found]}, {"name": "six", "version": "1", "vulns": []}]

    verdict = read_audit(1, json.dumps({"dependencies": packages}), "")

    assert verdict.problems == ["boto3 2.0: PYSEC-1 (fixed in 2.1)"]


def test_what_was_not_asked_is_said() -> None:
    """Packages that the index knows nothing of are no problem and no success."""
    packages = [{"name": "boto3", "skip_reason": "not found"}, {"name": "six", "version": "1", "vulns": []}]

    verdict = read_audit(0, json.dumps({"dependencies": packages}), "")

    assert (verdict.problems, verdict.told) == ([], "vulnerabilities NOT CHECKED for 1 of 2")


@pytest.mark.parametrize("output", ["", "[]", "{}", "Traceback"])
def test_an_auditor_that_cannot_ask_is_said(output: str) -> None:
    """Without a network the check says so, and passes."""
    verdict = read_audit(1, output, "...\nConnectionError: no such host\n")

    assert verdict.problems == []
    assert "NOT CHECKED" in verdict.told
    assert "no such host" in verdict.told
