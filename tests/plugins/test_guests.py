"""The committed modules, run by Extism alone: `hostMemoryGet` is answered from a dict, one per call."""

import functools
import hashlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import extism
import pytest
from extism import ValType
from extism.extism import CompiledPlugin

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
ARTICLE = {"hello": "👋 Hello World 🌍".encode(), "message": "I 💜 Extism 😍".encode()}


class Memory:
    """What the host knows during one call, and which keys it was asked for, in order."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self.values = values
        self.asked: list[bytes] = []

    def get(self, plugin: Any, inputs: list[Any], outputs: list[Any]) -> None:
        """Answers as the handler does: offset 0 for a missing key, an offset of length 0 for an empty value."""
        key = plugin.input_bytes(inputs[0])
        self.asked.append(key)
        value = self.values.get(key.decode(errors="replace"))
        if value is None:
            outputs[0].value = 0
        elif value:
            plugin.return_bytes(outputs[0], value)
        else:
            # Extism answers an allocation of 0 bytes with offset 0; inside a block, past its start, the length is 0.
            outputs[0].value = plugin.alloc(32).offset + 16


def _host_memory_get(plugin: Any, inputs: list[Any], outputs: list[Any], *_: Any) -> None:
    plugin.host_context().get(plugin, inputs, outputs)


HOST_MEMORY_GET = extism.host_fn(
    name="hostMemoryGet", namespace="extism:host/user", signature=([ValType.I64], [ValType.I64])
)(_host_memory_get)


@pytest.fixture(scope="module", autouse=True)
def no_compile_cache() -> Iterator[None]:
    """Without the variable Extism makes a cache under HOME, and fails where it can't."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXTISM_CACHE_CONFIG", "")
        yield
    _compiled.cache_clear()


@functools.cache
def _manifest(name: str) -> dict[str, Any]:
    return tomllib.loads((PLUGINS / name / "plugin.toml").read_text(encoding="utf-8"))


@functools.cache
def _compiled(name: str) -> CompiledPlugin:
    manifest = _manifest(name)
    module = (PLUGINS / name / manifest["wasm"]).read_bytes()
    return CompiledPlugin(module, wasi=manifest["wasi"], functions=[HOST_MEMORY_GET])


def instance(name: str) -> extism.Plugin:
    """A new instance, with WASI only where plugin.toml says so."""
    return extism.Plugin(_compiled(name), functions=[HOST_MEMORY_GET])


def say_hello(data: bytes, memory: Memory) -> bytes:
    """One call of plugins/simple."""
    output: bytes = instance("simple").call("say_hello", data, host_context=memory)
    return output


def lookup(key: bytes, memory: Memory) -> bytes:
    """One call of plugins/lookup."""
    output: bytes = instance("lookup").call("lookup", key, host_context=memory)
    return output


@pytest.mark.parametrize("name", ["simple", "lookup"])
def test_the_module_is_the_one_that_plugin_toml_names(name: str) -> None:
    """The sha256 in plugin.toml is the committed module's, and every function it exposes is exported."""
    manifest = _manifest(name)
    assert hashlib.sha256((PLUGINS / name / manifest["wasm"]).read_bytes()).hexdigest() == manifest["sha256"]
    assert all(instance(name).function_exists(function) for function in manifest["functions"])


def test_simple_answers_the_articles_three_lines() -> None:
    """The article's input gives the article's three lines, byte for byte, without a newline at the end."""
    assert (
        say_hello(b"Jane Doe", Memory(ARTICLE))
        == "👋 Hello Jane Doe\nkey: hello, value: 👋 Hello World 🌍\nkey: message, value: I 💜 Extism 😍".encode()
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"J", "🦀 Zoë 花子".encode(), b"\xff\x00\xfe", b"a\nb", b"x" * 100_001],
    ids=lambda data: repr(data[:8]),
)
def test_simple_greets_with_its_input_unchanged(data: bytes) -> None:
    """Whatever bytes the input is, empty and not UTF-8 included, stand after the greeting as they came."""
    greeting = "👋 Hello ".encode() + data + b"\nkey: hello, value: "

    assert say_hello(data, Memory(ARTICLE)).startswith(greeting)


def test_simple_reads_just_the_keys_it_is_granted() -> None:
    """It asks for its two keys once each, in the article's order, and plugin.toml grants these two and no more."""
    memory = Memory(ARTICLE)

    say_hello(b"Jane Doe", memory)

    assert memory.asked == [b"hello", b"message"]
    assert _manifest("simple")["memory"]["read"] == ["hello", "message"]


@pytest.mark.parametrize("key", ["hello", "message"])
def test_simple_reports_a_missing_key(key: str) -> None:
    """A key that is not there is the plugin's own error with the key's name, and no greeting with a hole in it."""
    memory = Memory({name: value for name, value in ARTICLE.items() if name != key})

    with pytest.raises(extism.Error, match=f"^no such key: {key}$"):
        say_hello(b"Jane Doe", memory)

    assert memory.asked[-1] == key.encode(), "it stops at the first missing key"


def test_simple_takes_an_empty_value_for_a_value() -> None:
    """An empty value is not a missing key: its line ends after `value: `."""
    output = say_hello(b"Jane Doe", Memory({**ARTICLE, "hello": b""}))

    assert output == "👋 Hello Jane Doe\nkey: hello, value: \nkey: message, value: I 💜 Extism 😍".encode()


def test_simple_quotes_a_value_of_dynamodbs_largest_size() -> None:
    """A value as large as a DynamoDB item can be (400 KB) arrives whole."""
    value = bytes(range(1, 251)) * 1600

    assert say_hello(b"", Memory({**ARTICLE, "hello": value})).split(b"value: ", 1)[1].startswith(value + b"\n")


@pytest.mark.parametrize(
    "value",
    [b"v", ARTICLE["hello"], bytes(range(256)), b"\0", bytes(range(250)) * 1600],
    ids=["1 byte", "emoji", "every byte", "NUL", "400 KB"],
)
def test_lookup_answers_with_the_values_bytes(value: bytes) -> None:
    """Text or not, the value comes out as it went in."""
    assert lookup(b"hello", Memory({"hello": value, "other": b"another"})) == value


@pytest.mark.parametrize(
    "key", ["k", "seven77", "eight888", "nine99999", "sixteen16sixteen", "público/ключ 🔑", "k" * 2048]
)
def test_lookup_asks_for_exactly_its_input(key: str) -> None:
    """Keys of every length, also around the 8 bytes that the PDK moves at a time, reach the host as they are."""
    memory = Memory({key: b"found"})

    assert lookup(key.encode(), memory) == b"found"
    assert memory.asked == [key.encode()]


def test_lookup_takes_an_empty_value_for_a_value() -> None:
    """An empty value is empty output, and no error."""
    assert lookup(b"hello", Memory({"hello": b""})) == b""


@pytest.mark.parametrize("key", ["nope", "público/ключ 🔑"])
def test_lookup_reports_a_missing_key(key: str) -> None:
    """A key that is not there is the plugin's own error with the key in it."""
    with pytest.raises(extism.Error, match=f"^no such key: {key}$"):
        lookup(key.encode(), Memory(ARTICLE))


def test_lookup_reports_an_empty_key_without_asking() -> None:
    """No input: the plugin's own error, and the host is not asked for a key that can't be."""
    memory = Memory(ARTICLE)

    with pytest.raises(extism.Error, match=r"^no key: the input is empty$"):
        lookup(b"", memory)

    assert memory.asked == []


@pytest.mark.parametrize("key", [b"\xfe\x80nope\xff", b"\xed\xa0\x80", b"\xc3"], ids=repr)
def test_lookups_errors_are_utf_8_whatever_the_key_is(key: bytes) -> None:
    """A key that is not UTF-8 goes to the host as it is; the error that names it can still be decoded."""
    memory = Memory(ARTICLE)

    with pytest.raises(extism.Error, match=r"^no such key: "):
        lookup(key, memory)

    assert memory.asked == [key]


@pytest.mark.parametrize(("name", "function"), [("simple", "say_hello"), ("lookup", "lookup")])
def test_an_instance_is_sound_after_an_error_of_its_own(name: str, function: str) -> None:
    """One instance that reports an error, again and again, answers right in between."""
    plugin = instance(name)
    right = plugin.call(function, b"hello", host_context=Memory(ARTICLE))

    for _ in range(100):
        with pytest.raises(extism.Error, match=r"^no such key: hello$"):
            plugin.call(function, b"hello", host_context=Memory({}))
        assert plugin.call(function, b"hello", host_context=Memory(ARTICLE)) == right
