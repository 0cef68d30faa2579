"""`extism-lambda plugins --policy`: prints the plugins' grants as a policy, or compares or changes template.yaml."""

import json
from pathlib import Path

import typer

from handler.errors import ConfigurationError
from handler.plugins import PluginSpec, load_catalog
from infra import policy, template
from infra.console import told
from infra.errors import CommandError

PLUGINS = template.PATH.parent / "plugins"


def run(folder: Path, *, check: bool, write: bool, path: Path | None = None) -> None:
    """Prints the statement that a folder of plugins needs; with `check` or `write` compares or changes a template.

    Raises:
        ConfigurationError: A plugin.toml is wrong.
        PolicyError: The grants are more than a policy can hold, or with `check` not those of the template.
        TemplateError: The template cannot be read, or has no list of keys.
    """
    path = path or template.PATH
    if check and write:
        raise typer.BadParameter("--check and --write exclude each other")
    specs = _catalog(folder)
    if write:
        difference = policy.write(specs, path)
        told(
            f"{path.name}: {difference} in what the function's role may read"
            if difference
            else f"{path.name}: the function's role has the plugins' keys already"
        )
    elif check:
        if difference := policy.check(specs, path):
            raise policy.PolicyError(difference)
    else:
        typer.echo(json.dumps(policy.KeyPatterns.of(specs.values()).statement(), indent=2))


def deployed_difference(folder: Path | None) -> str | None:
    """In what this project's template and plugins differ, in words; None also where the folder is not the project's.

    Args:
        folder: The folder of plugins that is spoken of; None for the project's.
    """
    if not template.PATH.is_file() or (folder or PLUGINS).resolve() != PLUGINS:
        return None
    try:
        return policy.check(_catalog(PLUGINS))
    except CommandError as error:
        return str(error)


def _catalog(folder: Path) -> dict[str, PluginSpec]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not there: expected a folder of plugin folders")
    return load_catalog(folder)
