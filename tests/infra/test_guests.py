"""Rebuilding plugins from source, with a build.sh that costs nothing: it copies the plugin's one source file."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra import guests

SOURCE = b"\0asm\1\0\0\0"
"""The empty module: its magic and its version."""

TOML = """\
# What this plugin is for.
description = "Echo" # said to whoever lists it
wasm = "echo.wasm"
sha256 = "{sha256}"    # of echo.wasm
functions = ["echo"]

[memory]
read = [
    "hello", # the first
]
"""


def sha256(module: bytes) -> str:
    """As plugin.toml states it."""
    return hashlib.sha256(module).hexdigest()


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder of plugins with one in it, `echo`, whose committed module is what its source makes."""
    folder = tmp_path / "plugins" / "echo"
    folder.mkdir(parents=True)
    (folder / "source").write_bytes(SOURCE)
    (folder / "build.sh").write_text('set -eu\ncp source "$1"\n')
    (folder / "echo.wasm").write_bytes(SOURCE)
    (folder / "plugin.toml").write_text(TOML.format(sha256=sha256(SOURCE)))
    return folder.parent


def run(plugins: Path, *arguments: str) -> Result:
    """The command on this folder of plugins, in this process."""
    return CliRunner().invoke(guests.app, ["--plugins", str(plugins), *arguments])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a plugin, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_check_passes_when_the_source_makes_the_committed_module(plugins: Path) -> None:
    """A plugin whose rebuilt bytes are the committed ones passes, and its folder stays as it was."""
    before = contents(plugins / "echo")

    result = run(plugins, "--check")

    assert result.exit_code == 0, result.output
    assert "echo: 8 bytes in" in result.stdout
    assert "as committed" in result.stdout
    assert contents(plugins / "echo") == before


def test_check_names_the_plugin_whose_source_makes_something_else(plugins: Path) -> None:
    """Other rebuilt bytes: exit code 1, a line with the plugin, both hashes and the repair, and nothing is written."""
    source = SOURCE + b"\0\2\1x"
    (plugins / "echo" / "source").write_bytes(source)
    before = contents(plugins / "echo")

    result = run(plugins, "--check")

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("echo: echo.wasm is not what its source makes")
    assert sha256(SOURCE) in line
    assert sha256(source) in line
    assert "uv run python -m infra.guests echo" in line
    assert contents(plugins / "echo") == before


def test_check_names_a_hash_that_is_not_the_modules(plugins: Path) -> None:
    """The right module beside a wrong sha256 in plugin.toml does not pass."""
    (plugins / "echo" / "plugin.toml").write_text(TOML.format(sha256="0" * 64))

    result = run(plugins, "--check")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"echo: plugin.toml has sha256 '{'0' * 64}'")


def test_check_names_a_module_that_was_never_committed(plugins: Path) -> None:
    """A plugin without its module does not pass."""
    (plugins / "echo" / "echo.wasm").unlink()

    result = run(plugins, "--check")

    assert result.exit_code == 1
    assert result.stderr.startswith("echo: there is no echo.wasm")


def test_a_changed_source_replaces_module_and_hash_alone(plugins: Path) -> None:
    """A rebuild writes the new module and its sha256; all else in plugin.toml stays as it was typed."""
    source = SOURCE + b"\0\2\1x"
    (plugins / "echo" / "source").write_bytes(source)

    result = run(plugins)

    assert result.exit_code == 0, result.output
    assert "replaced" in result.stdout
    assert (plugins / "echo" / "echo.wasm").read_bytes() == source
    assert (plugins / "echo" / "plugin.toml").read_text() == TOML.format(sha256=sha256(source))
    assert run(plugins, "--check").exit_code == 0


def test_a_new_plugin_gets_its_first_module_and_hash(plugins: Path) -> None:
    """A plugin.toml without sha256, and no module yet: both are there after one run, at the top level of the file."""
    folder = plugins / "echo"
    (folder / "echo.wasm").unlink()
    (folder / "plugin.toml").write_text(
        "".join(line for line in TOML.splitlines(keepends=True) if not line.startswith("sha256"))
    )

    assert run(plugins, "echo").exit_code == 0
    assert guests.load(folder).toml["sha256"] == sha256(SOURCE)
    assert run(plugins, "--check").exit_code == 0


def test_an_earlier_module_is_never_taken_for_a_new_one(plugins: Path) -> None:
    """The committed module is not there while build.sh runs."""
    (plugins / "echo" / "build.sh").write_text('cp echo.wasm "$1"\n')

    result = run(plugins, "--check")

    assert result.exit_code == 1
    assert result.stderr.startswith("echo: build.sh ended with exit code 1")


def test_what_build_sh_prints_is_shown_when_it_fails(plugins: Path) -> None:
    """A failing build: exit code 1, the plugin, build.sh's exit code and all that it printed; nothing is written."""
    (plugins / "echo" / "build.sh").write_text("echo one\necho two >&2\nexit 3\n")
    before = contents(plugins / "echo")

    result = run(plugins)

    assert result.exit_code == 1
    assert result.stderr == "echo: build.sh ended with exit code 3:\none\ntwo\n"
    assert contents(plugins / "echo") == before


def test_a_missing_program_is_told_as_such(plugins: Path) -> None:
    """A build.sh that starts a program that is not installed: the error says so and names the program."""
    (plugins / "echo" / "build.sh").write_text("no-such-compiler source\n")

    result = run(plugins)

    assert result.exit_code == 1
    assert "echo: build.sh ended with exit code 127 (a program that it starts is not installed)" in result.stderr
    assert "no-such-compiler" in result.stderr.splitlines()[1]


def test_a_missing_shell_is_told_as_such(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `sh` on PATH: an error that says so, no stack trace."""
    monkeypatch.setenv("PATH", str(plugins))

    result = run(plugins)

    assert result.exit_code == 1
    assert result.stderr == "echo: build.sh needs a POSIX shell, and no program `sh` is on PATH\n"


@pytest.mark.parametrize("script", ["true\n", ': > "$1"\n'], ids=["no file", "an empty file"])
def test_a_build_that_writes_nothing_fails(plugins: Path, script: str) -> None:
    """A build.sh that ends with exit code 0 and leaves no module, or an empty one, has failed."""
    (plugins / "echo" / "build.sh").write_text(script)

    result = run(plugins)

    assert result.exit_code == 1
    assert result.stderr.startswith("echo: build.sh ended well but wrote nothing")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('wasm = "echo.wasm', "can't be read"),
        ('description = "no module"', "wasm is None"),
        ("wasm = 1", "wasm is 1"),
        ('wasm = "../echo.wasm"', "wasm is '../echo.wasm'"),
        ('wasm = "plugin.toml"', "wasm is 'plugin.toml'"),
    ],
)
def test_a_plugin_toml_that_names_no_module_is_refused(plugins: Path, toml: str, said: str) -> None:
    """The error names the plugin, the file, the value and what is allowed; nothing is built or written."""
    (plugins / "echo" / "plugin.toml").write_text(toml)
    before = contents(plugins / "echo")

    result = run(plugins)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"echo: {plugins / 'echo' / 'plugin.toml'}")
    assert said in result.stderr
    assert contents(plugins / "echo") == before


def test_one_failure_does_not_keep_the_others_from_being_checked(plugins: Path) -> None:
    """Every plugin is tried, the broken one is named, and the exit code is 1."""
    broken = plugins / "broken"
    broken.mkdir()
    (broken / "plugin.toml").write_text('wasm = "broken.wasm"\n')
    (broken / "build.sh").write_text("exit 9\n")

    result = run(plugins, "--check")

    assert result.exit_code == 1
    assert result.stderr == "broken: build.sh ended with exit code 9:\n"
    assert "echo: 8 bytes in" in result.stdout


def test_only_the_named_plugins_are_built(plugins: Path) -> None:
    """With names, no other plugin's build.sh runs."""
    other = plugins / "other"
    other.mkdir()
    (other / "plugin.toml").write_text('wasm = "other.wasm"\n')
    (other / "build.sh").write_text("exit 9\n")

    assert run(plugins, "echo", "--check").exit_code == 0
    assert run(plugins, "other", "--check").exit_code == 1


def test_an_unknown_name_is_answered_with_the_known_ones(plugins: Path) -> None:
    """A name that is no plugin's: exit code 2, and the error lists the plugins there are."""
    result = run(plugins, "ecko")

    assert result.exit_code == 2
    assert result.stderr == f"no plugin ecko in {plugins}; there are: echo\n"


def test_a_plugin_without_build_sh_is_left_alone_and_said_so(plugins: Path) -> None:
    """A plugin that came as a module alone is not rebuilt, is mentioned, and is an error only when it is named."""
    (plugins / "echo" / "build.sh").rename(plugins / "build.sh")
    assert run(plugins, "echo").stderr.startswith("echo: no build.sh in")

    result = run(plugins, "--check")

    assert "echo: no build.sh, left alone" in result.stdout
    assert result.exit_code == 2, "a check that checks nothing must not pass"


def test_it_runs_as_a_module(plugins: Path) -> None:
    """`python -m infra.guests --check NAME` is the command that CI and the README use."""
    command = [sys.executable, "-m", "infra.guests", "--plugins", str(plugins), "--check", "echo"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "echo: building ..."
