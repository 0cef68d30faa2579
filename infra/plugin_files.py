"""Finds the files of a project's plugins that ship to Lambda."""

from hashlib import sha256
from pathlib import Path

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


def _check_hash(spec: PluginSpec) -> None:
    actual = sha256(spec.wasm.read_bytes()).hexdigest()
    if spec.sha256 not in (None, actual):
        toml = spec.wasm.parent / "plugin.toml"
        raise BuildError(f"{toml}: sha256 is {spec.sha256!r}, and that of {spec.wasm.name} is {actual!r}")
