"""Finds the files of a project's plugins that ship to Lambda."""

import tomllib
from hashlib import sha256
from pathlib import Path

from infra.building import BuildError


def plugin_files(root: Path) -> list[Path]:
    """Returns each plugin's plugin.toml and the module that it names, whose hash was checked.

    Args:
        root: the project, with the folder plugins/.

    Returns:
        Paths relative to `root`; sources and build files are not among them.

    Raises:
        BuildError: there is no plugin, or a module is missing or is not the one that plugin.toml vouches for.
    """
    files = []
    for toml in sorted((root / "plugins").glob("*/plugin.toml")):
        files += [toml, _module(toml)]
    if not files:
        raise BuildError(f"{root / 'plugins'}: no plugin; expected folders that hold a plugin.toml")
    return [file.relative_to(root) for file in files]


def _module(toml: Path) -> Path:
    """Returns the checked module of one plugin."""
    try:
        spec = tomllib.loads(toml.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"{toml}: {error}") from error
    name, expected = spec.get("wasm"), spec.get("sha256")
    if not isinstance(name, str) or Path(name).name != name:
        raise BuildError(f"{toml}: wasm is {name!r}, expected the name of a file beside it")
    module = toml.parent / name
    if not module.is_file():
        raise BuildError(f"{toml}: wasm is {name!r}, and there is no such file beside it")
    actual = sha256(module.read_bytes()).hexdigest()
    if expected != actual and not (expected is None and module.suffix == ".wat"):
        raise BuildError(f"{toml}: sha256 is {expected!r}, and that of {name} is {actual!r}")
    return module
