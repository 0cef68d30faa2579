"""The host functions: the ABI between a guest and the memory.

`hostMemoryGet(key: i64) -> i64` takes the offset of a UTF-8 key in Extism's memory and answers with the offset of the
value's bytes, or 0 when there is no such key. It is there under `extism:host/user`, where today's PDKs look for it, and
under `env`, where the article's TinyGo `//export` does.

Extism's own functions for HTTP are replaced, since they do not keep to `allowed_hosts` where a host redirects.

A failure never looks like a missing key. An exception in a host function would be swallowed by cffi and the guest would
read an empty value, so the first failure is kept on the invocation, every further host call of that invocation is
refused, the guest runs out within its deadline, and whoever made the call drops the output and raises the failure.
"""

import json
from collections.abc import Callable

from extism.extism import CurrentPlugin, Function, Val, ValType, host_fn

from handler.errors import (
    GuestDeadlineExceeded,
    HostCallsExceeded,
    InternalError,
    InvalidMemoryKey,
    InvocationError,
    NetworkFailed,
    PluginOutOfMemory,
)
from handler.guest_memory import OutsideMemory, block_at, read_block
from handler.invocation import Invocation, current_invocation
from handler.memory.keys import check_size

NAMESPACES = ("extism:host/user", "env")
MEMORY_GET = "hostMemoryGet"
EXTISM = "extism:host/env"
"""Where Extism's own functions are. One of the same name that is given here takes the place of Extism's (plugin.rs)."""
REQUEST_BYTES = 10_000_000
"""Largest HTTP request of a guest, its body and what describes it each."""

BLOCK_HEADER = 16
"""At least the bytes that Extism's kernel keeps before an allocation (12 in extism 1.41: status, size, used)."""


Answer = Callable[[CurrentPlugin, Invocation, list[int]], int]
"""What a host function does: takes its arguments and gives its result."""


def _guarded(answer: Answer) -> Callable[..., None]:
    """A host function for Extism whose failures are kept for whoever made the call."""

    def call(plugin: CurrentPlugin, inputs: list[Val], outputs: list[Val], *_user_data: object) -> None:
        outputs[0].value = 0
        invocation = current_invocation()
        if invocation.failure is not None:
            return
        invocation.host_calls_left -= 1
        try:
            if invocation.host_calls_left < 0:
                raise HostCallsExceeded("the plugin called host functions more often than its host_calls")
            if invocation.deadline.remaining() == 0.0:
                raise GuestDeadlineExceeded("the time was over when the plugin called a host function")
            outputs[0].value = answer(plugin, invocation, [one.value for one in inputs])
        except (InvalidMemoryKey, PluginOutOfMemory) as error:
            # Extism's own memory functions are interrupted too, and then tell of no block, and of no room for one.
            overdue = invocation.deadline.remaining() == 0.0
            invocation.failure = GuestDeadlineExceeded("the time was over in a host function") if overdue else error
        except InvocationError as error:
            invocation.failure = error
        except Exception as error:  # noqa: BLE001 - cffi would swallow it, and the guest would go on with an empty value
            invocation.failure = InternalError("a host function failed")
            invocation.failure.__cause__ = error

    return call


def _memory_get(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    value = invocation.memory.get(_key_at(plugin, inputs[0]), invocation.deadline)
    return 0 if value is None else _give(plugin, value)


def _http_request(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    from handler.guest_http import fetch  # noqa: PLC0415 - few guests need it

    wish = block_at(plugin, inputs[0])
    body = block_at(plugin, inputs[1])
    try:
        if max(wish.length, body.length) > REQUEST_BYTES:
            raise OutsideMemory(f"{wish.length} and {body.length} bytes")
        sent = read_block(plugin, body) if body.length else None
        described = read_block(plugin, wish) if wish.length else b""
    except OutsideMemory as error:
        raise NetworkFailed("the plugin's HTTP request is too large, or lies outside of its memory") from error
    plugin.free(wish)  # they are the host's now, by Extism's ABI
    plugin.free(body)
    invocation.response = fetch(described, sent, invocation.allowed_hosts, invocation.deadline)
    return _give(plugin, invocation.response.body) if invocation.response.body else 0


def _http_status_code(_plugin: CurrentPlugin, invocation: Invocation, _inputs: list[int]) -> int:
    return invocation.response.status if invocation.response else 0


def _http_headers(plugin: CurrentPlugin, invocation: Invocation, _inputs: list[int]) -> int:
    return _give(plugin, json.dumps(invocation.response.headers).encode()) if invocation.response else 0


def _key_at(plugin: CurrentPlugin, offset: int) -> bytes:
    """The bytes of the block at an offset; none where there is no block.

    Raises:
        InvalidMemoryKey: The block is larger than a key can be, or not inside the memory. It is not read then.
    """
    block = block_at(plugin, offset)
    if block.length == 0:
        return b""
    check_size(block.length)
    try:
        return read_block(plugin, block)
    except OutsideMemory as error:
        raise InvalidMemoryKey("the plugin asked for a key that lies outside of its memory") from error


def _give(plugin: CurrentPlugin, value: bytes) -> int:
    """Copies a value into Extism's memory and returns its offset, which is never 0."""
    # An allocation of 0 bytes has the offset 0, which would say that there is no such key. An offset that lies inside a
    # block of zeros, and so is no block itself, is what the kernel gives the length 0: `length` finds no block there,
    # and `length_unsafe` reads the zeros before it as a header that is not in use.
    block = plugin.alloc(len(value) or 2 * BLOCK_HEADER)
    if block.offset == 0:
        raise PluginOutOfMemory("a value of the memory does not fit into the plugin's memory_pages")
    plugin.memory(block)[:] = value or bytes(2 * BLOCK_HEADER)
    return int(block.offset) if value else int(block.offset) + BLOCK_HEADER


# Declared once, here: each declaration stays in Extism's global registry for ever.
HOST_FUNCTIONS: list[Function] = [
    host_fn(name=name, namespace=namespace, signature=(takes, [gives]))(_guarded(answer))
    for namespace, name, takes, gives, answer in [
        *((namespace, MEMORY_GET, [ValType.I64], ValType.I64, _memory_get) for namespace in NAMESPACES),
        (EXTISM, "http_request", [ValType.I64, ValType.I64], ValType.I64, _http_request),
        (EXTISM, "http_status_code", [], ValType.I32, _http_status_code),
        (EXTISM, "http_headers", [], ValType.I64, _http_headers),
    ]
]
