"""Finds the files of a project's plugins that ship to Lambda, and copies them."""

import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import tomlkit
import wasmtime

from handler.errors import ConfigurationError
from handler.plugins import PluginSpec, load_catalog
from infra.building import BuildError


def plugin_files(root: Path) -> list[Path]:
    """Returns each plugin's plugin.toml and the module that it names, whose hash was checked.

    Args:
        root: the project, with the folder plugins/.

    Returns:
        Paths relative to `root`, each plugin.toml followed by its module; sources and build files are not among them.

    Raises:
        BuildError: a plugin.toml is wrong, or its module is not the one that it vouches for.
    """
    try:
        catalog = load_catalog(root / "plugins")
    except (ConfigurationError, OSError) as error:
        raise BuildError(str(error)) from error
    files = []
    for spec in catalog.values():
        _check_hash(spec)
        files += [spec.wasm.parent / "plugin.toml", spec.wasm]
    return [file.relative_to(root) for file in files]


def copy(root: Path, out: Path, files: Iterable[Path]) -> list[Path]:
    """Copies plugins into an artifact, a module in text translated, since Lambda has nothing that reads it.

    Args:
        root: the project.
        out: the artifact.
        files: what `plugin_files` found in `root`.

    Returns:
        The modules in the artifact.

    Raises:
        BuildError: a text is no module.
    """
    modules = []
    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".wat":
            modules.append(_translate(root / file, out / file.with_suffix(".wasm")))
        else:
            shutil.copyfile(root / file, out / file)
            modules += [out / file] if file.suffix == ".wasm" else []
    return modules


def _translate(text: Path, module: Path) -> Path:
    """Writes a text in binary form, and its name and hash into the plugin.toml beside it."""
    try:
        code = bytes(wasmtime.wat2wasm(text.read_bytes()))
    except wasmtime.WasmtimeError as error:
        raise BuildError(f"compiling the plugins: {text}: {error}") from error
    module.write_bytes(code)
    toml = module.parent / "plugin.toml"
    document = tomlkit.parse(toml.read_text(encoding="utf-8"))
    document.update({"wasm": module.name, "sha256": sha256(code).hexdigest()})
    toml.write_text(tomlkit.dumps(document), encoding="utf-8")
    return module


def _check_hash(spec: PluginSpec) -> None:
    actual = sha256(spec.wasm.read_bytes()).hexdigest()
    if spec.sha256 not in (None, actual):
        toml = spec.wasm.parent / "plugin.toml"
        raise BuildError(f"{toml}: sha256 is {spec.sha256!r}, and that of {spec.wasm.name} is {actual!r}")
