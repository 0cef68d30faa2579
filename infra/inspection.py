"""Checks plugins without calling them: hash, exports, and imports against what plugin.toml grants."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handler.deadline import Deadline
from handler.errors import ConfigurationError, InvocationError
from handler.guest import read
from handler.host_functions import MEMORY_GET, NAMESPACES
from handler.modules import host_functions
from handler.plugins import PluginSpec, load_spec
from handler.pool import PluginPool


@dataclass(frozen=True, slots=True)
class Finding:
    """What the check of one plugin found.

    Attributes:
        name: The plugin's folder.
        spec: Its plugin.toml; None where that is wrong.
        problem: Why it cannot be used; None where it can.
    """

    name: str
    spec: PluginSpec | None = None
    problem: str | None = None


def inspect(folder: Path) -> Iterator[Finding]:
    """Checks every plugin of a folder; one that is wrong does not hide the others.

    Raises:
        ConfigurationError: There is no such folder, or no plugin in it.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not there: expected a folder of plugin folders")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    if not folders:
        raise ConfigurationError(f"{folder} holds no plugin")
    for path in folders:
        try:
            spec = load_spec(path)
        except ConfigurationError as error:
            yield Finding(path.name, problem=str(error))
        else:
            yield Finding(path.name, spec, problem_of(spec))


def problem_of(spec: PluginSpec) -> str | None:
    """Why a plugin cannot be used, or None: compiles and links it as Lambda will, and calls nothing."""
    pool = PluginPool(spec)
    try:
        pool.check(spec.functions, Deadline.never())
    except InvocationError as error:
        return f"{spec.wasm}: {error.__cause__ or error.detail}"
    finally:
        pool.release()
    if MEMORY_GET in imports(spec) and not (spec.reads.keys or spec.reads.prefixes):
        return f"{spec.wasm.parent / 'plugin.toml'}: the module imports {MEMORY_GET}, but [memory] read grants no key"
    return None


def imports(spec: PluginSpec) -> set[str]:
    """The host functions of ours that a module imports."""
    return {name for namespace, name in host_functions(read(spec)) if namespace in NAMESPACES}
