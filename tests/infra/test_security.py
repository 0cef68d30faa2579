"""SECURITY.md promises nothing that no test shows."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")


def names_in(path: Path) -> set[str]:
    """The tests of a module, as pytest names them without their parameters."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"::{node.name}::" if isinstance(node, ast.ClassDef) else "::"
        found |= {prefix + one.name for one in members if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


def test_every_named_test_is_there() -> None:
    """A test that SECURITY.md names is in its file."""
    named = NAMED.findall(TEXT)
    assert len(named) > 40
    files = {path for path, _ in named}
    there = {path: names_in(ROOT / path) if (ROOT / path).is_file() else set() for path in files}

    assert [path + name for path, name in named if name not in there[path]] == []


def test_every_promise_names_a_test() -> None:
    """Each row of its tables has at least one."""
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]

    assert len(rows) > 30
    assert [row for row in rows if not NAMED.search(row)] == []
