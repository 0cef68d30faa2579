"""The host functions: the ABI between a guest and the memory.

`hostMemoryGet(key: i64) -> i64` takes the offset of a UTF-8 key in Extism's memory and answers with the offset of the
value's bytes, or 0 when there is no such key. It is there under `extism:host/user`, where today's PDKs look for it, and
under `env`, where the article's TinyGo `//export` does.

Some of Extism's own functions are replaced; kernel_functions.py says why.

A failure never looks like a missing key. An exception in a host function would be swallowed by cffi and the guest would
read an empty value, so the first failure is kept on the invocation, every further host call of that invocation is
refused, the guest runs out within its deadline, and whoever made the call drops the output and raises the failure.
"""

from collections.abc import Callable

from extism.extism import CurrentPlugin, Function, Val, ValType, host_fn

from handler import kernel_functions as kernel
from handler.errors import (
    GuestDeadlineExceeded,
    HostCallsExceeded,
    InternalError,
    InvalidMemoryKey,
    InvocationError,
    PluginOutOfMemory,
)
from handler.guest_memory import OutsideMemory, block_at, give, read_block
from handler.invocation import Invocation, current_invocation
from handler.memory.keys import check_size

NAMESPACES = ("extism:host/user", "env")
MEMORY_GET = "hostMemoryGet"
OURS = "extism-lambda"
"""Where modules.py leads the imports of Extism's functions that are replaced."""
Answer = Callable[[CurrentPlugin, Invocation, list[int]], int]
"""What a host function does: takes its arguments and gives its result."""


def _guarded(answer: Answer) -> Callable[..., None]:
    """A host function for Extism whose failures are kept for whoever made the call."""

    def call(plugin: CurrentPlugin, inputs: list[Val], outputs: list[Val], *_user_data: object) -> None:
        for one in outputs:
            one.value = 0
        invocation = current_invocation()
        if invocation.failure is not None:
            return
        invocation.host_calls_left -= 1
        try:
            if invocation.host_calls_left < 0:
                raise HostCallsExceeded("the plugin called host functions more often than its host_calls")
            if invocation.deadline.remaining() == 0.0:
                raise GuestDeadlineExceeded("the time was over when the plugin called a host function")
            result = answer(plugin, invocation, [one.value for one in inputs])
            for one in outputs:
                one.value = result
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
    return 0 if value is None else give(plugin, value)


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


# Declared once, here: each declaration stays in Extism's global registry for ever.
HOST_FUNCTIONS: list[Function] = [
    host_fn(name=name, namespace=namespace, signature=(takes, gives))(_guarded(answer))
    for namespace, name, takes, gives, answer in [
        *((namespace, MEMORY_GET, [ValType.I64], [ValType.I64], _memory_get) for namespace in NAMESPACES),
        (OURS, "config_get", [ValType.I64], [ValType.I64], kernel.config_get),
        (OURS, "var_get", [ValType.I64], [ValType.I64], kernel.var_get),
        (OURS, "var_set", [ValType.I64, ValType.I64], [], kernel.var_set),
        (OURS, "error_set", [ValType.I64], [], kernel.error_set),
        (OURS, "http_request", [ValType.I64, ValType.I64], [ValType.I64], kernel.http_request),
        (OURS, "http_status_code", [], [ValType.I32], kernel.http_status_code),
        (OURS, "http_headers", [], [ValType.I64], kernel.http_headers),
        (OURS, "poll_oneoff", [ValType.I32] * 4, [ValType.I32], kernel.poll_oneoff),
    ]
]
