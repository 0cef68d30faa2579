"""Rebuilds the plugins from their sources: `uv run python -m infra.guests [--check] [NAME...]`.

How a plugin is built is its own affair. Its folder holds a `build.sh` that is started in a scratch copy of the folder,
and that writes the module to the file its only argument names (an absolute path). So any language fits, and nothing
that an earlier build left behind can be taken for a new one.
"""

import hashlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import tomlkit
import typer
from tomlkit.exceptions import TOMLKitError

PLUGINS = Path(__file__).resolve().parent.parent / "plugins"
COMMAND = "uv run python -m infra.guests"
LEFT_BEHIND = ("build", "node_modules", "target")
"""Folders of a plugin that builds fill and that .gitignore leaves out: not copied."""
NOT_FOUND = 127
"""POSIX: the exit code of a shell that could not find a program."""

app = typer.Typer(add_completion=False)


class GuestError(Exception):
    """A plugin can't be built, or is not what its source makes: the message names it, for whoever works on it."""


class Guest(NamedTuple):
    """A plugin that says how it is built."""

    folder: Path
    toml: tomlkit.TOMLDocument
    wasm: Path
    """The committed module; it need not exist yet."""

    @property
    def name(self) -> str:
        """The plugin's, which is its folder's."""
        return self.folder.name


def load(folder: Path) -> Guest:
    """Reads what plugin.toml says about the module, and leaves the rest of it to the handler.

    Raises:
        GuestError: no build.sh, no readable plugin.toml, or no module's file name in its field `wasm`.
    """
    path = folder / "plugin.toml"
    if not (folder / "build.sh").is_file():
        raise GuestError(f"{folder.name}: no build.sh in {folder}")
    try:
        toml = tomlkit.parse(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise GuestError(f"{folder.name}: {path} can't be read: {error}") from error
    wasm = toml.unwrap().get("wasm")
    if not isinstance(wasm, str) or Path(wasm).name != wasm or not wasm.endswith((".wasm", ".wat")):
        raise GuestError(
            f"{folder.name}: {path}: wasm is {wasm!r}; it must be the name of a .wasm or .wat file beside plugin.toml"
        )
    return Guest(folder, toml, folder / wasm)


def build(guest: Guest) -> bytes:
    """Runs a plugin's build.sh in a scratch copy of its folder and returns the module that it wrote.

    Raises:
        GuestError: with what build.sh printed, when it failed or wrote nothing.
    """
    with tempfile.TemporaryDirectory(prefix="guest-") as scratch:
        copy, output = Path(scratch, guest.name), Path(scratch, "output", guest.wasm.name)
        shutil.copytree(guest.folder, copy, ignore=shutil.ignore_patterns(guest.wasm.name, *LEFT_BEHIND))
        output.parent.mkdir()
        try:
            run = subprocess.run(
                ["sh", "build.sh", str(output)],
                cwd=copy,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError as error:
            raise GuestError(f"{guest.name}: build.sh needs a POSIX shell, and no program `sh` is on PATH") from error
        if run.returncode != 0:
            why = " (a program that it starts is not installed)" if run.returncode == NOT_FOUND else ""
            raise GuestError(
                f"{guest.name}: build.sh ended with exit code {run.returncode}{why}:\n{run.stdout}".rstrip()
            )
        if not output.is_file() or not (module := output.read_bytes()):
            raise GuestError(f"{guest.name}: build.sh ended well but wrote nothing to its argument {output}")
        return module


def difference(guest: Guest, module: bytes) -> str | None:
    """Says in what the committed plugin is not the rebuilt one, or None when it is."""
    if not guest.wasm.is_file():
        return f"there is no {guest.wasm.name}"
    built, committed = _sha256(module), _sha256(guest.wasm.read_bytes())
    if committed != built:
        return f"{guest.wasm.name} is not what its source makes: sha256 {committed} committed, {built} built"
    if (stated := guest.toml.unwrap().get("sha256")) != built:
        return f"plugin.toml has sha256 {stated!r}, {guest.wasm.name} has {built!r}"
    return None


def replace(guest: Guest, module: bytes) -> None:
    """Writes a module and its sha256 into the plugin's folder; the rest of plugin.toml stays as it was typed."""
    guest.wasm.write_bytes(module)
    guest.toml["sha256"] = _sha256(module)
    (guest.folder / "plugin.toml").write_bytes(tomlkit.dumps(guest.toml).encode())


def _sha256(module: bytes) -> str:
    return hashlib.sha256(module).hexdigest()


def _rebuild(folder: Path, *, only_check: bool) -> str:
    """Builds one plugin, compares or replaces it, and returns what came of it in a few words."""
    guest = load(folder)
    typer.echo(f"{guest.name}: building ...")
    start = time.monotonic()
    module = build(guest)
    seconds = time.monotonic() - start
    outcome = "as committed"
    if problem := difference(guest, module):
        if only_check:
            raise GuestError(
                f"{guest.name}: {problem}. If the source is right, run `{COMMAND} {guest.name}` and commit the result"
            )
        replace(guest, module)
        outcome = f"replaced ({problem})"
    return f"{guest.name}: {len(module):,} bytes in {seconds:.1f} s, {outcome}"


def _folders(plugins: Path, names: list[str]) -> list[Path]:
    """The plugins that were named, or all that have a build.sh; says which have none.

    Raises:
        GuestError: a name that no plugin has, or nothing to build at all.
    """
    known = {path.parent.name: path.parent for path in sorted(plugins.glob("*/plugin.toml"))}
    there = ", ".join(known) or "none"
    if unknown := sorted(set(names) - set(known)):
        raise GuestError(f"no plugin {', '.join(unknown)} in {plugins}; there are: {there}")
    if names:
        return [known[name] for name in known if name in names]
    for name, folder in known.items():
        if not (folder / "build.sh").is_file():
            typer.echo(f"{name}: no build.sh, left alone")
    if not (folders := [folder for folder in known.values() if (folder / "build.sh").is_file()]):
        raise GuestError(f"no plugin in {plugins} has a build.sh; there are: {there}")
    return folders


@app.command()
def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", show_default="all that have a build.sh", help="Plugins.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit 1 when a committed module is not what its source makes."),
    ] = False,
    plugins: Annotated[
        Path, typer.Option(help="The folder of the plugins.", file_okay=False, exists=True, show_default="plugins/")
    ] = PLUGINS,
) -> None:
    """Rebuild plugins from source with their build.sh; replace their .wasm and the sha256 in plugin.toml.

    The first run downloads the tool chains that the build.sh files pin.
    """
    try:
        folders = _folders(plugins, names or [])
    except GuestError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    failed = False
    for folder in folders:
        try:
            typer.echo(_rebuild(folder, only_check=check))
        except (GuestError, OSError) as error:
            typer.echo(str(error), err=True)
            failed = True
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
