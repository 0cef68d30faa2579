"""plugin.toml, and the folder of plugins."""

import hashlib
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handler.errors import ConfigurationError
from handler.plugins import Grants, Isolation, Limits, PluginSpec, Prefetch, ReadCache, load_catalog, load_spec
from tests.guests import SILENT, make_plugin, toml

MINIMAL: dict[str, Any] = {"wasm": "one.wat", "functions": ["run"]}


def write(folder: Path, text: str) -> Path:
    """A plugin's folder named `one` with this plugin.toml and a module in text."""
    place = folder / "one"
    place.mkdir(exist_ok=True)
    (place / "one.wat").write_text(SILENT)
    (place / "plugin.toml").write_text(text, encoding="utf-8")
    return place


def refusal(folder: Path) -> str | None:
    """What a plugin's folder is refused with; None where it is taken."""
    try:
        load_spec(folder)
    except ConfigurationError as error:
        return str(error)
    return None


def test_the_smallest_description_gets_safe_defaults(tmp_path: Path) -> None:
    """With only module and functions named, nothing is granted and everything is limited."""
    spec = load_spec(write(tmp_path, toml(MINIMAL)))

    assert spec == PluginSpec(
        name="one",
        description="",
        wasm=tmp_path / "one" / "one.wat",
        sha256=None,
        functions=("run",),
        content_type="text/plain; charset=utf-8",
        wasi=False,
        isolation=Isolation.REUSE,
        limits=Limits(
            timeout_ms=2000, memory_pages=1024, input_bytes=1_000_000, output_bytes=5_000_000, host_calls=10_000
        ),
        reads=Grants(),
        config={},
        allowed_hosts=(),
    )


def test_every_field_is_read(tmp_path: Path) -> None:
    """Each field of plugin.toml reaches the description."""
    code = SILENT.encode()
    sha256 = hashlib.sha256(code).hexdigest()
    text = f"""
        description = "Greets 💜"
        wasm = "one.wat"
        sha256 = "{sha256}"
        functions = ["run", "say_hello", "ns:iface#op@1.0"]
        content_type = "application/json"
        wasi = true
        isolation = "fresh"
        [limits]
        timeout_ms = 10
        memory_pages = 20
        input_bytes = 0
        output_bytes = 40
        host_calls = 50
        [memory]
        read = ["hello", "public/*"]
        prefetch = false
        prefetch_keys = 7
        prefetch_bytes = 8
        cache_seconds = 9
        cache_bytes = 10
        [config]
        greeting = "Hi"
        "a key" = ""
        [network]
        allowed_hosts = ["api.example.com"]
    """

    spec = load_spec(write(tmp_path, text))

    assert spec == PluginSpec(
        name="one",
        description="Greets 💜",
        wasm=tmp_path / "one" / "one.wat",
        sha256=sha256,
        functions=("run", "say_hello", "ns:iface#op@1.0"),
        content_type="application/json",
        wasi=True,
        isolation=Isolation.FRESH,
        limits=Limits(timeout_ms=10, memory_pages=20, input_bytes=0, output_bytes=40, host_calls=50),
        reads=Grants(frozenset({"hello"}), ("public/",)),
        prefetch=Prefetch(enabled=False, keys=7, bytes=8),
        cache=ReadCache(seconds=9, bytes=10),
        config={"greeting": "Hi", "a key": ""},
        allowed_hosts=("api.example.com",),
    )


def test_the_modules_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder of plugins does not depend on the working directory later."""
    write(tmp_path, toml(MINIMAL))
    monkeypatch.chdir(tmp_path)

    assert load_spec(Path("one")).wasm == tmp_path / "one" / "one.wat"


NOT_TEXT = [1, 1.5, True, ["x"], {"x": 1}]
NOT_WHOLE_NUMBERS = ["1", 1.0, True, [1], -1]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        *(("description", value, "a text") for value in NOT_TEXT),
        *(("wasm", value, "beside plugin.toml") for value in NOT_TEXT),
        ("wasm", "", "beside plugin.toml"),
        ("wasm", "../one.wat", "beside plugin.toml"),
        ("wasm", "/one.wat", "beside plugin.toml"),
        ("wasm", "sub/one.wat", "beside plugin.toml"),
        ("wasm", "one.js", "beside plugin.toml"),
        ("wasm", ".wat", "beside plugin.toml"),
        ("wasm", "other.wat", "there is no such file"),
        *(("sha256", value, "64 lower-case hex digits") for value in NOT_TEXT),
        ("sha256", "", "64 lower-case hex digits"),
        ("sha256", "a" * 63, "64 lower-case hex digits"),
        ("sha256", "A" * 64, "64 lower-case hex digits"),
        ("sha256", "g" * 64, "64 lower-case hex digits"),
        *(("functions", value, "at least one function") for value in ["run", 1, True, [], [1], ["run", 2], [["run"]]]),
        ("functions", [""], "at least one function"),
        ("functions", ["run", "run"], "each once"),
        ("functions", ["a/b"], "at least one function"),
        ("functions", ["a b"], "at least one function"),
        ("functions", ["grüß"], "at least one function"),
        ("functions", ["x" * 256], "at least one function"),
        *(("content_type", value, "a media type") for value in NOT_TEXT),
        ("content_type", "", "a media type"),
        ("content_type", "text", "a media type"),
        ("content_type", "text/plain\r\nx-evil: 1", "a media type"),
        ("content_type", "text/plain; charset=ütf", "a media type"),
        *(("wasi", value, "true or false") for value in ["true", 1, 0, [], {}]),
        *(("isolation", value, '"reuse" or "fresh"') for value in ["", "REUSE", "none", 1, True, []]),
        *((table, value, "a table") for table in ("limits", "memory", "config", "network") for value in ["x", 1, []]),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(tmp_path: Path, field: str, value: Any, expected: str) -> None:
    """The message holds the file, the field, its value and what was expected."""
    inline = toml_inline(value)
    text = "\n".join(f"{name} = {toml_inline(good)}" for name, good in MINIMAL.items() if name != field)
    folder = write(tmp_path, f"{text}\n{field} = {inline}\n")

    message = refusal(folder) or "it was taken"

    assert str(folder / "plugin.toml") in message
    assert f"{field} = {value!r}" in message
    assert expected in message


def toml_inline(value: Any) -> str:
    """A value as TOML has it after the equals sign."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml_inline(one)}" for name, one in value.items()) + " }"
    return toml({"x": value}).removeprefix("x = ").strip()


@pytest.mark.parametrize(
    ("table", "field", "value", "expected"),
    [
        *(("limits", "timeout_ms", value, "from 10 to 900000") for value in [*NOT_WHOLE_NUMBERS, 0, 900_001]),
        *(("limits", "memory_pages", value, "from 1 to 65536") for value in [*NOT_WHOLE_NUMBERS, 0, 65_537]),
        *(("limits", "input_bytes", value, "from 0 to 1000000000") for value in [*NOT_WHOLE_NUMBERS, 1_000_000_001]),
        *(("limits", "output_bytes", value, "from 0 to 1000000000") for value in [*NOT_WHOLE_NUMBERS, 1_000_000_001]),
        *(("limits", "host_calls", value, "from 0 to 1000000000") for value in [*NOT_WHOLE_NUMBERS, 1_000_000_001]),
        *(("memory", "read", value, "a list of keys") for value in ["hello", 1, True, [1], ["x", 1], [["x"]]]),
        ("memory", "read", [""], "1 to 2048 bytes"),
        ("memory", "read", ["x" * 2049], "1 to 2048 bytes"),
        ("memory", "read", ["💜" * 513], "1 to 2048 bytes"),
        *(("memory", "prefetch", value, "true or false") for value in ["true", 1, [True]]),
        *(("memory", "prefetch_keys", value, "from 1 to 100") for value in [*NOT_WHOLE_NUMBERS, 0, 101]),
        *(("memory", "prefetch_bytes", value, "from 1 to 1000000000") for value in [*NOT_WHOLE_NUMBERS, 0]),
        *(("memory", "cache_seconds", value, "from 0 to 86400") for value in [*NOT_WHOLE_NUMBERS, 86_401]),
        *(("memory", "cache_bytes", value, "from 1 to 1000000000") for value in [*NOT_WHOLE_NUMBERS, 0]),
        *(("config", "greeting", value, "a text") for value in NOT_TEXT),
        *(("network", "allowed_hosts", value, "a list of host names") for value in ["x", 1, [1], [["x"]]]),
    ],
)
def test_a_wrong_field_of_a_table_is_named_too(
    tmp_path: Path, table: str, field: str, value: Any, expected: str
) -> None:
    """The message holds the file, the table, the field, its value and what was expected."""
    folder = write(tmp_path, toml(MINIMAL) + f"[{table}]\n{field} = {toml_inline(value)}\n")

    message = refusal(folder) or "it was taken"

    assert f"{folder / 'plugin.toml'}: [{table}]: {field} = {value!r}" in message
    assert expected in message


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("fuctions = 'x'", toml(MINIMAL) + "fuctions = 'x'\n"),
        ("[limits]: timeout = 5", toml(MINIMAL) + "[limits]\ntimeout = 5\n"),
        ("[memory]: write = []", toml(MINIMAL) + "[memory]\nwrite = []\n"),
        ("[network]: hosts = []", toml(MINIMAL) + "[network]\nhosts = []\n"),
        ("limit = {'timeout_ms': 5}", toml(MINIMAL) + "[limit]\ntimeout_ms = 5\n"),
    ],
)
def test_an_unknown_field_is_refused(tmp_path: Path, where: str, text: str) -> None:
    """A misspelt field does not pass for a default."""
    message = refusal(write(tmp_path, text)) or "it was taken"

    assert where in message
    assert "unknown field" in message


@pytest.mark.parametrize("field", ["wasm", "functions"])
def test_a_required_field_is_missed_by_name(tmp_path: Path, field: str) -> None:
    """Without module or functions there is no plugin."""
    values = {name: value for name, value in MINIMAL.items() if name != field}

    message = refusal(write(tmp_path, toml(values))) or "it was taken"

    assert f"plugin.toml: {field} is missing: expected" in message


def test_a_binary_module_needs_its_hash(tmp_path: Path) -> None:
    """A .wasm without sha256 is refused; text may go without."""
    folder = make_plugin(tmp_path, "one", SILENT, binary=True)
    (folder / "plugin.toml").write_text('wasm = "one.wasm"\nfunctions = ["run"]\n')

    assert "sha256 is missing" in (refusal(folder) or "it was taken")


@pytest.mark.parametrize(
    "content", [b"wasm = ", b"\xff\xfe", b"wasm = 'one.wat'\nwasm = 'two.wat'", b"wasm = 'a\x00b'"]
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """Broken TOML, and text that is not UTF-8, are refused with the file's name."""
    folder = write(tmp_path, "")
    (folder / "plugin.toml").write_bytes(content)

    assert f"{folder / 'plugin.toml'} cannot be read" in (refusal(folder) or "it was taken")


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    """What cannot be opened as a file is refused with its name."""
    folder = tmp_path / "one"
    (folder / "plugin.toml").mkdir(parents=True)

    assert f"{folder / 'plugin.toml'} cannot be read" in (refusal(folder) or "it was taken")


@pytest.mark.parametrize("name", ["One", "one two", "-one", "größe", "x" * 65, "a.b"])
def test_a_folders_name_has_to_fit_a_path_segment(tmp_path: Path, name: str) -> None:
    """A name that HTTP would have to escape is refused."""
    folder = make_plugin(tmp_path, name, SILENT)

    assert repr(name) in (refusal(folder) or "it was taken")


def test_a_catalog_holds_every_plugin_by_name(tmp_path: Path) -> None:
    """All folders are read, in the order of their names; files and hidden or underscored folders are passed over."""
    for name in ("beta", "alpha", "a1", "0"):
        make_plugin(tmp_path, name, SILENT)
    (tmp_path / "README.md").write_text("about plugins")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()

    catalog = load_catalog(tmp_path)

    assert list(catalog) == ["0", "a1", "alpha", "beta"]
    assert [spec.name for spec in catalog.values()] == list(catalog)


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    """A plugin.toml with a misspelt name does not make a plugin vanish."""
    make_plugin(tmp_path, "one", SILENT)
    (tmp_path / "two").mkdir()

    with pytest.raises(ConfigurationError, match=r"two has no plugin\.toml"):
        load_catalog(tmp_path)


def test_an_empty_folder_of_plugins_is_refused(tmp_path: Path) -> None:
    """No plugin at all is a mistake in the settings."""
    with pytest.raises(ConfigurationError, match="holds no plugin"):
        load_catalog(tmp_path)


KEYS = st.text(min_size=1, max_size=20).filter(lambda key: not key.endswith("*"))


@given(st.lists(KEYS), st.lists(KEYS), KEYS)
@example([], ["public/"], "public/")
@example(["hello"], [], "hello2")
@example([], [], "hello")
def test_a_grant_is_an_exact_key_or_a_prefix(keys: list[str], prefixes: list[str], key: str) -> None:
    """A key may be read when it is listed, or begins with a listed prefix, and never otherwise."""
    grants = Grants.of([*keys, *(prefix + "*" for prefix in prefixes)])

    assert grants.allow(key) == (key in keys or any(key[: len(prefix)] == prefix for prefix in prefixes))


def test_a_lone_star_grants_every_key() -> None:
    """The prefix of no characters is every key's."""
    assert Grants.of(["*"]).allow("anything")


NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=10)
VALUES = st.recursive(
    st.text(max_size=10) | st.integers(-(2**70), 2**70) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "description",
    "wasm",
    "sha256",
    "functions",
    "content_type",
    "wasi",
    "isolation",
    "limits",
    "memory",
    "config",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS) | NAMES, VALUES, max_size=5))
def test_any_toml_is_read_or_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    """No file crashes the reader: it is a plugin, or the message names the file."""
    lines = "\n".join(f"{name} = {toml_inline(value)}" for name, value in (MINIMAL | values).items())
    folder = write(tmp_path, lines)

    assert str(folder) in (refusal(folder) or str(folder))
