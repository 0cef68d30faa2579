"""`extism-lambda plugins --policy`, and what other commands say when template.yaml lags behind the plugins."""

import json
from pathlib import Path

import pytest

from handler.plugins import load_catalog
from infra import policy, policy_cli, template
from infra.policy import KeyPatterns
from tests import guests
from tests.command_line import CommandLine

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    """Runs commands in this process."""
    return CommandLine(monkeypatch, capfdbinary)


def test_prints_the_statement(run: CommandLine) -> None:
    """Standard output is one JSON object."""
    outcome = run("plugins", "--policy")
    assert outcome.code == 0
    assert json.loads(outcome.text) == KeyPatterns.of(load_catalog(ROOT / "plugins").values()).statement()


def test_check_is_silent_where_all_is_well(run: CommandLine) -> None:
    """The exit code is 0."""
    outcome = run("plugins", "--policy", "--check")
    assert (outcome.code, outcome.out, outcome.err) == (0, b"", "")


def test_check_tells_what_to_do(run: CommandLine, tmp_path: Path) -> None:
    """Keys that differ are named, and so is the command that writes them."""
    folder = tmp_path / "greedy"
    folder.mkdir()
    (folder / "greedy.wat").write_text("(module)")
    (folder / "plugin.toml").write_text('wasm = "greedy.wat"\nfunctions = ["run"]\nmemory.read = ["secret/*"]\n')

    outcome = run("plugins", "--policy", "--check", "--plugins", tmp_path)

    assert outcome.code == 1
    assert "lacks 'secret/*'" in outcome.err
    assert f"Run `{policy.WRITE}`" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("options", [["--check"], ["--write"], ["--policy", "--check", "--write"]])
def test_options_that_make_no_sense(run: CommandLine, options: list[str]) -> None:
    """They are not understood, and template.yaml stays as it is."""
    before = template.PATH.read_bytes()
    assert run("plugins", *options).code == 2
    assert template.PATH.read_bytes() == before


def test_write_changes_the_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it added and removed; the second time it has nothing to do."""
    copy = tmp_path / "template.yaml"
    copy.write_bytes(template.PATH.read_bytes())
    guests.make_plugin(tmp_path / "plugins", "greedy", guests.ECHO, memory={"read": ["secret/*"]})

    policy_cli.run(tmp_path / "plugins", check=False, write=True, path=copy)
    first = capsys.readouterr().err
    policy_cli.run(tmp_path / "plugins", check=False, write=True, path=copy)
    second = capsys.readouterr().err

    assert "added 'secret/*' and removed 'hello', 'message', 'public/*'" in first
    assert "has the plugins' keys already" in second
    assert KeyPatterns.in_template(template.Template.read(copy)).patterns == ("extism-lambda/readyz", "secret/*")


def test_a_folder_that_is_not_there(run: CommandLine, tmp_path: Path) -> None:
    """The error names it."""
    outcome = run("plugins", "--policy", EXTISM_LAMBDA_PLUGINS=str(tmp_path / "nowhere"))
    assert outcome.code == 1
    assert "nowhere is not there: expected a folder of plugin folders" in outcome.err


def test_the_check_of_plugins_tells_that_the_role_lags_behind(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that is fine here and would be refused by the deployed table is told, with the command that helps."""
    copy = tmp_path / "template.yaml"
    copy.write_text(template.PATH.read_text().replace('"public/*"', '"other/*"'))
    folder = tmp_path / "plugins"
    guests.make_plugin(folder, "reader", guests.GET, memory={"read": ["public/*"]})
    monkeypatch.setattr(template, "PATH", copy)
    monkeypatch.setattr(policy_cli, "PLUGINS", folder)

    outcome = run("plugins", "--plugins", folder)

    assert outcome.code == 0
    assert "lacks 'public/*'" in outcome.err
    assert policy.WRITE in outcome.err


def test_other_folders_are_none_of_the_templates_business(tmp_path: Path) -> None:
    """The project's template says nothing about plugins that are not the project's."""
    guests.make_plugin(tmp_path, "reader", guests.GET, memory={"read": ["public/*"]})
    assert policy_cli.deployed_difference(tmp_path) is None
    assert policy_cli.deployed_difference(None) is None


def test_grants_that_no_policy_can_hold_are_told_and_fail_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint is the error's message."""
    guests.make_plugin(tmp_path, "reader", guests.GET, memory={"read": [f"customer/{n}" for n in range(1000)]})
    monkeypatch.setattr(policy_cli, "PLUGINS", tmp_path)
    assert "grant prefixes" in (policy_cli.deployed_difference(None) or "")
