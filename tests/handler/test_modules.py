"""What becomes of a module before Extism sees it."""

from contextlib import suppress
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from handler.modules import TABLE_ELEMENTS, ModuleRefused, host_functions, prepare
from tests import guests

SIMPLE = Path(__file__).resolve().parents[2] / "plugins" / "simple" / "simple.wasm"
RUN = '(func $run (export "run"))'


def binary(text: str) -> bytes:
    """A module's text in binary form."""
    return bytes(wasmtime.wat2wasm(text))


def names(code: bytes) -> list[str]:
    """The exports of a module, as wasmtime reads them; fails where it is not valid."""
    return [one.name for one in wasmtime.Module(wasmtime.Engine(), code).exports]


def test_what_runs_by_itself_becomes_an_export() -> None:
    """The start function and `_initialize` have other names, in the order in which they are to run."""
    prepared = prepare(binary(f'(module {RUN} (func (export "_initialize")) (func $begin) (start $begin))'))

    assert prepared.initializers == ("extism-lambda:start", "extism-lambda:_initialize")
    assert sorted(names(prepared.code)) == ["_start", *sorted(prepared.initializers), "run"]


def test_constructors_come_in_place_of_initialize() -> None:
    """As Extism has it, `__wasm_call_ctors` is run where there is one, and `_initialize` where there is none."""
    both = '(func (export "_initialize")) (func (export "__wasm_call_ctors"))'

    assert prepare(binary(f"(module {RUN} {both})")).initializers == ("extism-lambda:__wasm_call_ctors",)


def test_a_module_with_nothing_to_run_keeps_its_functions() -> None:
    """Without a start function only `_start` is added, which keeps Extism from making an instance of its own."""
    prepared = prepare(binary(guests.ECHO))

    assert prepared.initializers == ()
    assert sorted(names(prepared.code)) == ["_start", "memory", "run"]


def test_a_command_stays_one() -> None:
    """A module that has a `_start` keeps it."""
    code = binary('(module (func (export "_start")) (func (export "run")))')

    assert prepare(code).code == code


def test_preparing_is_deterministic_and_done_once() -> None:
    """The same module gives the same bytes, as the compile cache needs; a prepared one has nothing left to change."""
    code = SIMPLE.read_bytes()
    prepared = prepare(code)

    assert prepare(code) == prepared
    assert prepare(prepared.code).code == prepared.code
    assert prepared.initializers == ("extism-lambda:_initialize",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(module)", "exports no function"),
        ('(module (memory (export "run") 1))', "exports no function"),
        (f'(module {RUN} (func (export "hs_init") (param i32 i32)))', "hs_init"),
        (f'(module (import "main" "run" (func)) {RUN})', "main::run, which nobody grants"),
        (f'(module (import "extism:host/env" "memory" (memory 1)) {RUN})', "memory, which is no function"),
        (f"(module {RUN} (table 1000001 funcref))", "more than 1,000,000 elements"),
        (f"(module {RUN} (table 600000 funcref) (table 600000 externref))", "more than 1,000,000 elements"),
    ],
)
def test_what_cannot_be_bounded_or_granted_is_refused(text: str, reason: str) -> None:
    """A module that could not be held to its limits is refused, in words that say why."""
    with pytest.raises(ModuleRefused, match=reason):
        prepare(binary(text))


@pytest.mark.parametrize(
    "table",
    [
        "(table $t 2 funcref)",
        "(table $t 2 4000000000 funcref)",
        "(table $t 2 funcref (ref.func $run))",
        "(table $t 1 (ref null $type)) (table 10 externref)",
    ],
)
def test_tables_grow_up_to_a_bound(table: str) -> None:
    """Whatever its own maximum, a table cannot grow beyond what all of them together may have."""
    grow = '(func (export "grow") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0)))'
    if "$type" in table:
        grow = grow.replace("ref.null func", "ref.null $type")
    code = prepare(binary(f"(module (type $type (func)) {RUN} {table} {grow})")).code
    config = wasmtime.Config()
    config.wasm_function_references = True
    store = wasmtime.Store(wasmtime.Engine(config))
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, code), [])
    call = instance.exports(store)["grow"]
    assert isinstance(call, wasmtime.Func)

    assert call(store, TABLE_ELEMENTS) == -1
    assert call(store, 100) >= 0


def test_what_is_imported_is_listed() -> None:
    """The host functions of a module are told by namespace and name."""
    assert ("extism:host/user", "hostMemoryGet") in host_functions(binary(guests.GET))
    assert ("extism:host/user", "hostMemoryGet") not in host_functions(binary(guests.ECHO))


@given(cut=st.integers(0, 1000))
def test_a_truncated_module_is_refused_or_shorter(cut: int) -> None:
    """Wherever a module is cut off, preparing it raises nothing but a refusal; between two sections it may pass."""
    code = binary(guests.ECHO)
    with suppress(ModuleRefused):
        assert len(prepare(code[:cut]).code) <= len(code) + len("_start") + 3


@given(at=st.integers(8, 10**6), value=st.integers(0, 255))
def test_a_damaged_module_is_refused_or_stays_damaged(at: int, value: int) -> None:
    """Any one byte changed, preparing raises nothing but a refusal; it never turns a start function into nothing."""
    code = bytearray(binary(f'(module {RUN} (table 1 funcref) (func (export "_initialize")) (func $s) (start $s))'))
    code[at % (len(code) - 8) + 8] = value
    try:
        prepared = prepare(bytes(code))
    except ModuleRefused:
        return
    try:
        exports = names(prepared.code)
    except wasmtime.WasmtimeError:
        return
    assert set(prepared.initializers) <= set(exports)
    assert "_initialize" not in exports
