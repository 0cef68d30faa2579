"""Tests of `sam build`: that it makes what `extism-lambda build` makes, from a clean checkout."""

import shutil
from pathlib import Path

import pytest

from infra.artifact import BuildReport
from tests.artifact import contents
from tests.sam import FUNCTION_FOLDER, Sam

pytestmark = pytest.mark.sam


def of_architecture(name: str, *artifacts: BuildReport) -> BuildReport:
    """The artifact for an architecture."""
    return next(artifact for artifact in artifacts if artifact.target.arch == name)


def test_is_the_artifact_of_the_command_line(
    sam_artifact: Path, artifact: BuildReport, other_artifact: BuildReport
) -> None:
    """The same files, bytes, modes and times as `extism-lambda build`, byte code and compile cache included."""
    assert contents(sam_artifact) == contents(of_architecture("x86_64", artifact, other_artifact).out)


def test_architecture_is_the_templates(
    sam: Sam, artifact: BuildReport, other_artifact: BuildReport, tmp_path: Path
) -> None:
    """The template's parameter is all that it takes to build for arm64; that this ends without a cache is told."""
    built = sam("build", "--parameter-overrides", "Architecture=arm64", "--build-dir", tmp_path)

    assert built.returncode == 0, built.stderr
    expected = of_architecture("arm64", artifact, other_artifact)
    assert contents(tmp_path / FUNCTION_FOLDER) == contents(expected.out)
    assert ("No compile cache: the artifact is for linux arm64" in built.stderr) == (expected.cache == "off")


def test_a_build_that_fails_is_told(sam: Sam, tmp_path: Path) -> None:
    """The exit code is not 0, the reason comes through, and there is no built template to deploy."""
    broken = sam.folder / "plugins" / "broken" / "plugin.toml"
    broken.parent.mkdir()
    try:
        broken.write_text('wasm = "missing.wat"\nfunctions = ["run"]\n')
        built = sam("build", "--build-dir", tmp_path)
    finally:
        shutil.rmtree(broken.parent)

    assert built.returncode == 1
    assert "missing.wat" in built.stderr
    assert not (tmp_path / "template.yaml").exists()
