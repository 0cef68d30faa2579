"""Tests of infra.byte_code."""

from pathlib import Path

import pytest

from infra.building import BuildError, Target
from infra.byte_code import compile_all


def test_error_in_the_handler_is_told(tmp_path: Path, target: Target) -> None:
    """A handler that is no valid Python cannot be built; the message holds file and line."""
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "main.py").write_text("x = 1\ny = = 2\n")
    with pytest.raises(BuildError, match=r"handler/main\.py cannot be compiled:(?s:.*)line 2"):
        compile_all(tmp_path, target.interpreter)


def test_error_in_a_package_is_reported(tmp_path: Path, target: Target) -> None:
    """A package may hold a file that is no Python of this version, such as a template; the rest has byte code."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "template.py").write_text("print {{ name }}\n")
    (tmp_path / "package" / "good.py").write_text("x = 1\n")
    assert compile_all(tmp_path, target.interpreter) == ["package/template.py"]
    assert [path.name.split(".")[0] for path in tmp_path.rglob("*.pyc")] == ["good"]
