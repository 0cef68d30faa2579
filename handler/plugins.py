"""plugin.toml → a typed, frozen description of one plugin.

The fields are read by hand rather than with pydantic, because this happens first at a cold start: the guest's
compilation, which runs beside the imports of FastAPI and pydantic, waits for it.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from handler.errors import ConfigurationError
from handler.memory.keys import KEY_BYTES
from handler.toml_fields import Table, boolean, matching, text, texts, whole_number

PLUGIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
FUNCTION_NAME = re.compile(r"[!-.0-~]{1,255}")  # printable ASCII without the slash: it has to fit a path segment
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(wasm|wat)")
CONTENT_TYPE = re.compile(r"[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+( *;[ -~]*)?")
SHA256 = re.compile(r"[0-9a-f]{64}")
DEFAULT_CONTENT_TYPE = "text/plain; charset=utf-8"
MINIMUM_TIMEOUT_MS = 10  # a shorter one can come before the guest has begun, and is lost: see interruption.py
MAXIMUM_TIMEOUT_MS = 900_000  # Lambda's own maximum, 15 minutes
BATCH_KEYS = 100
MAXIMUM_CACHE_SECONDS = 86_400  # a day: an environment does not live much longer
MAXIMUM_PAGES = 65_536  # the 4 GiB of a 32-bit memory
MAXIMUM_BYTES = 1_000_000_000
MAXIMUM_CALLS = 1_000_000_000


class Isolation(StrEnum):
    """How long an instance lives."""

    REUSE = "reuse"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one call may use; all are enforced.

    Attributes:
        timeout_ms: Milliseconds from the start of the call to its end, host functions included.
        memory_pages: Pages of 64 KiB, linear memory and Extism's own memory together.
        input_bytes: Largest input.
        output_bytes: Largest output.
        host_calls: Calls of our host functions.
    """

    timeout_ms: int = 2000
    memory_pages: int = 1024
    input_bytes: int = 1_000_000
    output_bytes: int = 5_000_000
    host_calls: int = 10_000


@dataclass(frozen=True, slots=True)
class Grants:
    """The keys that a plugin may read: exact ones, and prefixes (written with a trailing `*`)."""

    keys: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: list[str]) -> "Grants":
        """Reads `["hello", "public/*"]`."""
        return cls(
            frozenset(pattern for pattern in patterns if not pattern.endswith("*")),
            tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*")),
        )

    def allow(self, key: str) -> bool:
        """Whether the key may be read."""
        return key in self.keys or key.startswith(self.prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetch:
    """Whether, and how much of, what a function read last time is fetched beside the start of its next call.

    Attributes:
        enabled: Whether at all.
        keys: Most keys; 100 is BatchGetItem's own limit (Amazon DynamoDB API Reference).
        bytes: Most bytes of keys and values, by their size last time.
    """

    enabled: bool = True
    keys: int = BATCH_KEYS
    bytes: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCache:
    """Whether, and how much of, what was read is kept for later invocations.

    Attributes:
        seconds: How old a value may be that is not read anew; 0 keeps nothing.
        bytes: Most bytes of keys and values, in one process.
    """

    seconds: int = 0
    bytes: int = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSpec:
    """One plugin, as its plugin.toml describes it; the README's plugin.toml table says what each field means.

    Attributes:
        name: The name of its folder, and its path segment in HTTP.
        wasm: The module's absolute path.
        sha256: The module's SHA-256 in lower-case hex; None only for WAT text without one.
        functions: What HTTP may call; the first is the default.
    """

    name: str
    description: str
    wasm: Path
    sha256: str | None
    functions: tuple[str, ...]
    content_type: str = DEFAULT_CONTENT_TYPE
    wasi: bool = False
    isolation: Isolation = Isolation.REUSE
    limits: Limits = field(default_factory=Limits)
    reads: Grants = field(default_factory=Grants)
    prefetch: Prefetch = field(default_factory=Prefetch)
    cache: ReadCache = field(default_factory=ReadCache)
    config: Mapping[str, str] = field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()


def load_catalog(folder: Path) -> dict[str, PluginSpec]:
    """Reads every plugin of a folder, without reading or compiling a module.

    A folder inside it that has no plugin.toml is refused, so that a misspelt file does not make a plugin vanish; names
    that begin with a dot or an underscore are passed over.

    Raises:
        ConfigurationError: A plugin.toml is missing or wrong; the message names file, field, value and what was
            expected.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    if not folders:
        raise ConfigurationError(f"{folder} holds no plugin: expected folders such as simple/ with a plugin.toml each")
    return {path.name: load_spec(path) for path in folders}


def load_spec(folder: Path) -> PluginSpec:
    """Reads the plugin.toml of one plugin's folder.

    Raises:
        ConfigurationError: It is missing or wrong; the message names file, field, value and what was expected.
    """
    path = folder / "plugin.toml"
    if not PLUGIN_NAME.fullmatch(folder.name):
        raise ConfigurationError(
            f"{folder}: {folder.name!r} cannot be a plugin's name: "
            "expected up to 64 lower-case letters, digits, - and _"
        )
    try:
        table = Table(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigurationError(f"{folder} has no plugin.toml") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error

    wasm = table.take("wasm", matching(FILE_NAME), "the name of a .wasm or .wat file beside plugin.toml")
    sha256 = table.take("sha256", matching(SHA256), "64 lower-case hex digits", None)
    if sha256 is None and wasm.endswith(".wasm"):
        raise ConfigurationError(f"{path}: sha256 is missing: it is required for a .wasm file")
    reads, prefetch, cache = _memory(table.table("memory"))
    spec = PluginSpec(
        name=folder.name,
        description=table.take("description", text, "a text", ""),
        wasm=folder.absolute() / wasm,
        sha256=sha256,
        functions=table.take("functions", _functions, "a list of at least one function name, each once"),
        content_type=table.take(
            "content_type",
            matching(CONTENT_TYPE),
            "a media type such as text/plain; charset=utf-8",
            DEFAULT_CONTENT_TYPE,
        ),
        wasi=table.take("wasi", boolean, "true or false", False),
        isolation=table.take("isolation", _isolation, '"reuse" or "fresh"', Isolation.REUSE),
        limits=_limits(table.table("limits")),
        reads=reads,
        prefetch=prefetch,
        cache=cache,
        config=_config(table.table("config")),
        allowed_hosts=_allowed_hosts(table.table("network")),
    )
    table.finish()
    if not spec.wasm.is_file():
        raise ConfigurationError(f"{path}: wasm = {wasm!r}: there is no such file beside plugin.toml")
    return spec


def _limits(table: Table) -> Limits:
    default = Limits()
    limits = Limits(
        timeout_ms=table.take("timeout_ms", *whole_number(MINIMUM_TIMEOUT_MS, MAXIMUM_TIMEOUT_MS), default.timeout_ms),
        memory_pages=table.take("memory_pages", *whole_number(1, MAXIMUM_PAGES), default.memory_pages),
        input_bytes=table.take("input_bytes", *whole_number(0, MAXIMUM_BYTES), default.input_bytes),
        output_bytes=table.take("output_bytes", *whole_number(0, MAXIMUM_BYTES), default.output_bytes),
        host_calls=table.take("host_calls", *whole_number(0, MAXIMUM_CALLS), default.host_calls),
    )
    table.finish()
    return limits


def _memory(table: Table) -> tuple[Grants, Prefetch, ReadCache]:
    prefetching, caching = Prefetch(), ReadCache()
    patterns = table.take("read", _keys, f'a list of keys (1 to {KEY_BYTES} bytes) or prefixes that end in "*"', [])
    prefetch = Prefetch(
        enabled=table.take("prefetch", boolean, "true or false", prefetching.enabled),
        keys=table.take("prefetch_keys", *whole_number(1, BATCH_KEYS), prefetching.keys),
        bytes=table.take("prefetch_bytes", *whole_number(1, MAXIMUM_BYTES), prefetching.bytes),
    )
    cache = ReadCache(
        seconds=table.take("cache_seconds", *whole_number(0, MAXIMUM_CACHE_SECONDS), caching.seconds),
        bytes=table.take("cache_bytes", *whole_number(1, MAXIMUM_BYTES), caching.bytes),
    )
    table.finish()
    return Grants.of(patterns), prefetch, cache


def _config(table: Table) -> dict[str, str]:
    # Extism drops the whole config, silently, when one value is not a string.
    return {name: table.take(name, text, "a text: a plugin's config holds nothing else") for name in table.names()}


def _allowed_hosts(table: Table) -> tuple[str, ...]:
    hosts = table.take("allowed_hosts", texts, "a list of host names", [])
    table.finish()
    return tuple(hosts)


def _isolation(value: object) -> Isolation:
    return Isolation(text(value))


def _functions(value: object) -> tuple[str, ...]:
    names = texts(value)
    if not names or len(set(names)) < len(names) or not all(FUNCTION_NAME.fullmatch(name) for name in names):
        raise ValueError(value)
    return tuple(names)


def _keys(value: object) -> list[str]:
    keys = texts(value)
    if not all(1 <= len(key.encode()) <= KEY_BYTES for key in keys):
        raise ValueError(value)
    return keys
