"""What a plugin sees of earlier calls: all that is its own with `reuse`, for a while, and nothing with `fresh`."""

import random

import pytest

from handler import pool
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.handler.test_guest import FAR, run

REMEMBERS = {
    "a global": guests.COUNTER,
    "a variable": guests.module(
        """(data (i32.const 0) "name")
        (func (export "run") (result i32) (local $value i64)
          (local.set $value (call $var_get (call $text (i32.const 0) (i32.const 4))))
          (call $answer_number (call $length (local.get $value)))
          (call $var_set (call $text (i32.const 0) (i32.const 4)) (call $text (i32.const 0) (i32.const 3)))
          (i32.const 0))""",
        imports="""(import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
        (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))""",
    ),
    "linear memory": guests.guest(
        f"""(i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (i32.const 1)))
        (call $answer_number (i64.extend_i32_u (i32.load (i32.const 100)))) {guests.OK}"""
    ),
    "the size of its memory": guests.guest(
        f"""(drop (memory.grow (i32.const 1)))
        (call $answer_number (i64.extend_i32_u (memory.size))) {guests.OK}"""
    ),
    "a table": guests.module(
        """(table $t 1 funcref)
        (func (export "run") (result i32)
          (drop (table.grow $t (ref.null func) (i32.const 1)))
          (call $answer_number (i64.extend_i32_u (table.size $t))) (i32.const 0))"""
    ),
    "WASI's descriptors": guests.guest(
        f"""(call $answer_number (i64.extend_i32_u (call $close (i32.const 1)))) {guests.OK}""",
        imports='(import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))',
    ),
}
"""Guests whose answer differs where something of an earlier call is left, by where they leave it."""


@pytest.mark.parametrize("name", REMEMBERS)
@pytest.mark.parametrize("isolation", ["reuse", "fresh"])
def test_what_survives_a_call(make_plugin: MakePlugin, make_service: MakeService, name: str, isolation: str) -> None:
    """With `fresh` every call answers as the first one; with `reuse` the guest finds what it left there."""
    make_plugin("remembers", REMEMBERS[name], isolation=isolation, wasi=True)
    service = make_service()

    first, *others = (run(service) for _ in range(3))

    assert (set(others) == {first}) == (isolation == "fresh")


SCANS = guests.guest(
    f"""(local $at i64) (local $sum i64)
    (local.set $at (i64.add (call $alloc (i64.const 30000)) (i64.const 29999)))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (call $load_u8 (local.get $at)))))
      (local.set $at (i64.sub (local.get $at) (i64.const 1)))
      (br_if $next (i64.gt_u (local.get $at) (i64.add (call $input_offset) (i64.const 4)))))
    (call $answer_number (local.get $sum)) {guests.OK}"""
)
"""Answers with the sum of the bytes of a block that it allocates and does not write, and of those behind its input."""


@pytest.mark.parametrize("isolation", ["reuse", "fresh"])
def test_extisms_memory_is_empty_at_every_call(
    make_plugin: MakePlugin, make_service: MakeService, isolation: str
) -> None:
    """Inputs and outputs of earlier calls are not left in Extism's memory, where a guest could look for them."""
    make_plugin("scans", SCANS, isolation=isolation)
    service = make_service()
    expected = run(service, b"none")

    run(service, b"secret" * 4000)

    assert run(service, b"none") == expected


STATELESS = guests.module(
    """(data (i32.const 0) "hello")
    (func (export "run") (result i32)
      (drop (call $get (call $text (i32.const 0) (i32.const 5))))
      (call $output_set (call $input_offset) (call $input_length)) (i32.const 0))
    (func (export "sized") (result i32)
      (call $output_set (call $alloc (call $input_length)) (call $input_length)) (i32.const 0))
    (func (export "value") (result i32)
      (call $answer (call $get (call $text (i32.const 0) (i32.const 5)))) (i32.const 0))""",
    imports=guests.MEMORY_GET,
)
"""Functions that keep nothing: `run` echoes, `sized` gives as many zeros as its input has bytes, `value` reads."""


def test_the_order_of_requests_does_not_matter(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """The same 300 requests in another order, on warm and on fresh instances, get the same bytes each."""
    for isolation in ("reuse", "fresh"):
        make_plugin(
            isolation, STATELESS, isolation=isolation, functions=["run", "sized", "value"], memory={"read": ["*"]}
        )
    service = make_service()
    source = random.Random(20261125)  # noqa: S311 - the same requests every time
    requests = [
        (source.choice(["run", "sized", "value"]), source.randbytes(source.choice([0, 1, 100, 70_000])))
        for _ in range(300)
    ]
    answers: list[dict[int, bytes]] = []
    for plugin in ("fresh", "reuse", "reuse"):
        order = source.sample(range(len(requests)), len(requests))
        found = {}
        for at in order:
            function, data = requests[at]
            found[at] = service.run(service.find(plugin, function), data, FAR)
        answers.append(found)

    assert answers[0] == answers[1] == answers[2]


class TestReplacement:
    """An instance does not live for ever."""

    def test_after_a_number_of_calls(
        self, make_plugin: MakePlugin, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The call after the last one meets a new instance."""
        monkeypatch.setattr(pool, "CALLS_OF_AN_INSTANCE", 20)
        monkeypatch.setattr(pool, "LOOK_EVERY", 10)
        make_plugin("counter", guests.COUNTER, functions=guests.COUNTER_FUNCTIONS)
        service = make_service()

        assert [run(service) for _ in range(22)] == [str(at).encode() for at in [*range(1, 21), 1, 2]]

    def test_when_it_has_grown(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A guest that keeps what it allocates is replaced before it comes to its limit: no call fails."""
        leaks = guests.guest(
            f"""(local $at i32)
            (local.set $at (i32.shl (memory.grow (i32.const 16)) (i32.const 16)))
            (memory.fill (local.get $at) (i32.const 1) (i32.const 1048576)) {guests.OK}"""
        )
        make_plugin("leaks", leaks, limits={"memory_pages": 2000})
        service = make_service()

        for _ in range(250):
            assert run(service) == b""
