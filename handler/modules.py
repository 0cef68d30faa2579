"""A WebAssembly module, prepared so that making an instance of it runs none of its code.

Facts that shape it (source: Extism 1.41's plugin.rs and current_plugin.rs, wasmtime 49's linker.rs):

* Extism instantiates a module twice: when a Plugin is made, if wasmtime's linker takes it for a reactor, and again in
  the first call. Both run the start function, `_initialize` and, in the first call, `__wasm_call_ctors`. No timer is
  armed then, and the first time not even the pointers are set through which a host function finds its memory: a guest
  that called one there ended the process.
* The linker instantiates nothing for a command, a module that exports `_start`.
* A table may grow to any size unless its own type has a maximum.
* Extism looks for an import from `main` in the module itself, without end.

* It calls its own `error_set` before each call, ours too if we gave one under its name.

So the start function and the initializers get other names, under which the first call runs them like any function: with
host functions, under the deadline. A module without `_start` gets one, which nobody calls; that also saves the first of
the two instantiations. Imports of functions that kernel_functions.py replaces are led there. What was read is written
anew, so that wasmtime cannot understand it in another way.
"""

from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"\0asm"
HEADER = MAGIC + b"\x01\0\0\0"
FUNCTION, MEMORY = 0, 2
END, REF_NULL, REF_FUNC = 0x0B, 0xD0, 0xD2
LOW_BITS, MORE = 0x7F, 0x80  # of a byte of a LEB128 number
PREFIX = b"extism-lambda:"
INITIALIZERS = (b"__wasm_call_ctors", b"_initialize")
"""What Extism looks for, the first it finds."""
TABLE_ELEMENTS = 1_000_000
"""Most elements of all of a module's tables together, of 8 or 16 bytes each; a Go module has thousands."""
FUNCTIONS = 50_000
"""Most functions, since the compiler cannot be interrupted: 100,000 empty ones kept 2 busy cores for 56 s."""
EXTISM, WASI, OURS = b"extism:host/env", b"wasi_snapshot_preview1", b"extism-lambda"
REPLACED = frozenset(
    (
        (EXTISM, b"config_get"),
        (EXTISM, b"var_get"),
        (EXTISM, b"var_set"),
        (EXTISM, b"error_set"),
        (EXTISM, b"http_request"),
        (EXTISM, b"http_status_code"),
        (EXTISM, b"http_headers"),
        (WASI, b"poll_oneoff"),
    )
)
"""Functions of Extism's and WASI's that kernel_functions.py gives in their place."""
IMPORTED = (EXTISM, OURS, b"extism:host/user", b"env", WASI)
"""Where anything can be imported from."""


class Section:
    """The sections that are looked at, by their ids; no enumeration, to keep the cold start short."""

    IMPORT = 2
    FUNCTION = 3
    TABLE = 4
    EXPORT = 7
    START = 8


class ModuleRefused(ValueError):
    """A module that is malformed, or whose running could not be bounded; the message says why."""


class PreparedModule(NamedTuple):
    """What Extism is given.

    Attributes:
        code: The module, the same for the same input.
        initializers: The exports to call before any other in a new instance, in order.
    """

    code: bytes
    initializers: tuple[str, ...]


class Export(NamedTuple):
    """An entry of the export section."""

    name: bytes
    kind: int
    item: int


def prepare(code: bytes) -> PreparedModule:
    """Moves everything that would run by itself into exports.

    Raises:
        ModuleRefused: It is no module, or needs something that nobody grants or that cannot be bounded.
    """
    start: int | None = None
    exports: list[Export] = []
    sections: list[tuple[int, bytes]] = []
    for section, body in _sections(code):
        match section:
            case Section.IMPORT:
                imports = list(_imports(_Reader(body)))
                for module, name, type_ in imports:
                    _check_import(module, name, type_)
                body = _write_imports(imports)  # noqa: PLW2901
            case Section.FUNCTION:
                if _Reader(body).number() > FUNCTIONS:
                    raise ModuleRefused(f"it has more than {FUNCTIONS:,} functions")
            case Section.TABLE:
                body = _bounded_tables(_Reader(body))  # noqa: PLW2901
            case Section.EXPORT:
                exports += _exports(_Reader(body))
            case Section.START:
                start = _Reader(body).number()
                continue
        sections.append((section, body))
    exports, initializers = _arrange(exports, start)
    written = _write_exports(exports)
    parts = [HEADER]
    for section, body in sections:
        content = written if section == Section.EXPORT else body
        parts += (bytes([section]), _number(len(content)), content)
    return PreparedModule(b"".join(parts), tuple(name.decode() for name in initializers))


def host_functions(code: bytes) -> set[tuple[str, str]]:
    """What a module imports, as namespaces and names."""
    return {
        (module.decode(errors="replace"), name.decode(errors="replace"))
        for section, body in _sections(code)
        if section == Section.IMPORT
        for module, name, _ in _imports(_Reader(body))
    }


class _Reader:
    """Takes values from the front of a section; what goes beyond its end is refused."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise ModuleRefused("the module is truncated")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self) -> int:
        """An unsigned LEB128 number of up to 64 bits."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & LOW_BITS) << shift
            if byte <= LOW_BITS:
                return value
        raise ModuleRefused("the module holds a number of more than 64 bits")

    def name(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self.at != len(self.data):
            raise ModuleRefused("a section of the module is longer than what it holds")


def _sections(code: bytes) -> Iterator[tuple[int, bytes]]:
    if not code.startswith(HEADER):
        raise ModuleRefused("it is no WebAssembly module of version 1")
    reader = _Reader(code, len(HEADER))
    while reader.at < len(code):
        yield reader.byte(), reader.name()


def _imports(reader: _Reader) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Module, name and type's index of each import; ends behind the first that is no function, which has None."""
    for _ in range(reader.number()):
        module, name, kind = reader.name(), reader.name(), reader.byte()
        if kind != FUNCTION:
            yield module, name, None
            return
        yield module, name, reader.number()
    reader.end()


def _check_import(module: bytes, name: bytes, type_: int | None) -> None:
    what = f"{module.decode(errors='replace')}::{name.decode(errors='replace')}"
    if type_ is None:
        raise ModuleRefused(f"it imports {what}, which is no function: there is nothing else to import")
    if module not in IMPORTED:
        raise ModuleRefused(f"it imports {what}, which nobody grants")


def _write_imports(imports: list[tuple[bytes, bytes, int | None]]) -> bytes:
    """The import section, what is replaced taken from us."""
    parts = [_number(len(imports))]
    for module, name, type_ in imports:
        where = OURS if (module, name) in REPLACED else module
        parts += (_number(len(where)), where, _number(len(name)), name, bytes([FUNCTION]), _number(type_ or 0))
    return b"".join(parts)


def _exports(reader: _Reader) -> Iterator[Export]:
    for _ in range(reader.number()):
        yield Export(reader.name(), reader.byte(), reader.number())
    reader.end()


def _arrange(exports: list[Export], start: int | None) -> tuple[list[Export], list[bytes]]:
    """The exports as the prepared module has them, and the names of those that begin its life.

    Extism calls nothing but functions, WASI finds a memory by its name, and a command may export little else.
    """
    kept = [one for one in exports if one.kind == FUNCTION or (one.kind == MEMORY and one.name == b"memory")]
    functions = {one.name: one for one in kept if one.kind == FUNCTION}
    if not functions:
        raise ModuleRefused("it exports no function")
    if b"hs_init" in functions:
        raise ModuleRefused("it exports hs_init, a Haskell runtime, which Extism would start without a time limit")
    renamed = {
        name: Export(PREFIX + name, FUNCTION, functions[name].item) for name in INITIALIZERS if name in functions
    }
    kept = [renamed.get(one.name, one) if one.kind == FUNCTION else one for one in kept]
    initializers = [one.name for one in list(renamed.values())[:1]]
    if start is not None:
        kept.append(Export(PREFIX + b"start", FUNCTION, start))
        initializers.insert(0, PREFIX + b"start")
    if b"_start" not in functions:
        kept.append(Export(b"_start", FUNCTION, next(iter(functions.values())).item))
    return kept, initializers


def _write_exports(exports: list[Export]) -> bytes:
    entries = (_number(len(one.name)) + one.name + bytes([one.kind]) + _number(one.item) for one in exports)
    return _number(len(exports)) + b"".join(entries)


def _bounded_tables(reader: _Reader) -> bytes:
    """The table section, each table with a maximum, so that all of them together stay below TABLE_ELEMENTS."""
    tables = [_table(reader) for _ in range(reader.number())]
    reader.end()
    room = TABLE_ELEMENTS - sum(least for _, _, least, _, _ in tables)
    if room < 0:
        raise ModuleRefused(f"its tables begin with more than {TABLE_ELEMENTS:,} elements")
    share = room // max(1, len(tables))
    parts = [_number(len(tables))]
    for kind, flags, least, most, init in tables:
        allowed = least + share if most is None else min(most, least + share)
        parts += (kind, bytes([flags | 1]), _number(least), _number(allowed), init)
    return b"".join(parts)


def _table(reader: _Reader) -> tuple[bytes, int, int, int | None, bytes]:
    """Type, flags, minimum, maximum and initial value of a table; the type with what stands before it."""
    begin = reader.at
    has_init = reader.data[begin : begin + 2] == b"\x40\x00"
    if has_init:
        reader.take(2)
    if reader.byte() in (0x63, 0x64):  # a reference to a type that follows
        reader.number()
    kind = reader.data[begin : reader.at]
    flags, least = reader.byte(), reader.number()
    if flags & ~0b101:
        raise ModuleRefused("it has a table of an unknown kind")
    most = reader.number() if flags & 1 else None
    if most is not None and most < least:
        raise ModuleRefused("it has a table whose maximum is below its minimum")
    return kind, flags, least, most, _reference(reader) if has_init else b""


def _reference(reader: _Reader) -> bytes:
    """A constant expression that is one reference, as tables begin with: `ref.null` or `ref.func`."""
    begin = reader.at
    operation, _, end = reader.byte(), reader.number(), reader.byte()
    if operation not in (REF_NULL, REF_FUNC) or end != END:
        raise ModuleRefused("it has a table whose initial value is computed")
    return reader.data[begin : reader.at]


def _number(value: int) -> bytes:
    """An unsigned LEB128 number."""
    written = bytearray()
    while value > LOW_BITS:
        written.append(value & LOW_BITS | MORE)
        value >>= 7
    written.append(value)
    return bytes(written)
