"""Tests of infra.plugin_files."""

from hashlib import sha256
from pathlib import Path

import pytest

from handler.plugins import load_spec
from infra.building import BuildError
from infra.plugin_files import copy, plugin_files


def test_ships_the_toml_and_the_module_alone(project: Path) -> None:
    """Of a plugin's folder plugin.toml and the module that it names are shipped, sources are not."""
    (project / "plugins" / "tiny" / "main.go").touch()
    assert plugin_files(project) == [Path("plugins/tiny/plugin.toml"), Path("plugins/tiny/tiny.wat")]


def test_module_with_its_hash_is_shipped(project: Path) -> None:
    """A module whose SHA-256 is the one in plugin.toml is shipped."""
    folder = project / "plugins" / "tiny"
    (folder / "tiny.wasm").write_bytes(b"\0asm")
    digest = sha256(b"\0asm").hexdigest()
    (folder / "plugin.toml").write_text(f'wasm = "tiny.wasm"\nfunctions = ["run"]\nsha256 = "{digest}"\n')
    assert Path("plugins/tiny/tiny.wasm") in plugin_files(project)


@pytest.mark.parametrize("name", ["tiny.wat", "tiny.wasm"])
def test_module_with_another_hash_is_refused(project: Path, name: str) -> None:
    """A module that is not the one that plugin.toml vouches for is refused, with both hashes."""
    folder = project / "plugins" / "tiny"
    (folder / name).write_bytes(b"\0asm")
    (folder / "plugin.toml").write_text(f'wasm = "{name}"\nfunctions = ["run"]\nsha256 = "{"0" * 64}"\n')
    with pytest.raises(
        BuildError, match=rf"tiny/plugin\.toml: sha256 is '0{{64}}', and that of {name} is '[0-9a-f]{{64}}'"
    ):
        plugin_files(project)


def test_wrong_toml_is_refused(project: Path) -> None:
    """What the handler would refuse at its start is refused at the build already."""
    (project / "plugins" / "tiny" / "plugin.toml").write_text('wasm = "tiny.wat"\nfunction = "run"\n')
    with pytest.raises(BuildError, match=r"tiny/plugin\.toml: functions is missing"):
        plugin_files(project)


def test_project_without_plugins_is_refused(tmp_path: Path) -> None:
    """A folder without plugins/ is no project: refused by name."""
    with pytest.raises(BuildError, match="plugins"):
        plugin_files(tmp_path)


def test_a_text_is_translated(project: Path, tmp_path: Path) -> None:
    """Lambda has nothing that reads WebAssembly text: the artifact holds the module in binary form, with its hash."""
    toml = project / "plugins" / "tiny" / "plugin.toml"
    toml.write_text(toml.read_text() + "[limits]\ntimeout_ms = 77\n")

    modules = copy(project, tmp_path / "out", plugin_files(project))

    spec = load_spec(tmp_path / "out" / "plugins" / "tiny")
    assert modules == [spec.wasm]
    assert spec.wasm.read_bytes().startswith(b"\0asm")
    assert spec.sha256 == sha256(spec.wasm.read_bytes()).hexdigest()
    assert spec.limits.timeout_ms == 77
    assert sorted(path.name for path in spec.wasm.parent.iterdir()) == ["plugin.toml", "tiny.wasm"]


def test_a_text_that_is_no_module_fails_the_build(project: Path, tmp_path: Path) -> None:
    """The message names the file."""
    (project / "plugins" / "tiny" / "tiny.wat").write_text("(module (func")

    with pytest.raises(BuildError, match=r"tiny\.wat"):
        copy(project, tmp_path / "out", plugin_files(project))
