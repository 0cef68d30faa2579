"""What takes the place of functions that Extism gives every guest itself; modules.py leads its imports here.

* Extism's `config_get`, `var_get`, `var_set` and `error_set` believe the lengths that a guest wrote into the kernel's
  bookkeeping, and read beyond the memory's end, which ends the process (source: Extism 1.41's pdk.rs and plugin.rs).
* WASI's `poll_oneoff` sleeps for as long as the guest wants, and no timeout interrupts a host function.
* Extism's `http_request` looks at the first address only and follows redirects; see guest_http.py.

They keep to Extism's ABI: what a guest hands over is the host's, and is freed.
"""

import json
import time

from extism.extism import CurrentPlugin, Memory

from handler.errors import NetworkFailed, PluginOutOfMemory, PluginTrapped
from handler.guest_memory import OutsideMemory, block_at, give, read_block
from handler.invocation import Invocation

REQUEST_BYTES = 10_000_000
"""Largest HTTP request of a guest, its body and what describes it each."""
VARIABLES_BYTES = 1024 * 1024
"""Most bytes of an instance's variables, names and values, as in Extism."""
ERROR_BYTES = 8000
"""Most bytes of an error that are looked at."""
NAME_BYTES = 65_536
"""Longest name of a variable or of a value of the config."""
NAP = 0.001
"""Seconds that a guest sleeps at a time."""


def config_get(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    """The offset of a value of [config]; 0 where it is empty or not there."""
    name = _taken(plugin, inputs[0], NAME_BYTES).decode(errors="replace")
    value = invocation.config.get(name, "")
    return give(plugin, value.encode()) if value else 0


def var_get(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    """The offset of a variable's value; 0 where there is no such variable."""
    value = invocation.variables.get(_taken(plugin, inputs[0], NAME_BYTES))
    return give(plugin, value) if value else 0


def var_set(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    """Sets a variable of the instance, or removes it where the value's offset is 0.

    Raises:
        PluginOutOfMemory: The variables would have more than VARIABLES_BYTES.
    """
    name = _taken(plugin, inputs[0], NAME_BYTES)
    variables = invocation.variables
    variables.pop(name, None)
    if inputs[1] != 0:
        value = _taken(plugin, inputs[1], VARIABLES_BYTES)
        if sum(len(one) + len(its) for one, its in variables.items()) + len(name) + len(value) > VARIABLES_BYTES:
            raise PluginOutOfMemory(f"the plugin's variables have more than {VARIABLES_BYTES:,} bytes")
        variables[name] = value
    return 0


def error_set(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    """Keeps the guest's error on the invocation; the offset 0 takes it back."""
    block = block_at(plugin, inputs[0])
    invocation.error = _read(plugin, Memory(block.offset, min(block.length, ERROR_BYTES))) or None
    return 0


def http_request(plugin: CurrentPlugin, invocation: Invocation, inputs: list[int]) -> int:
    """Asks a host, and gives the offset of what it answered; 0 where that is nothing."""
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
    return give(plugin, invocation.response.body) if invocation.response.body else 0


def http_status_code(_plugin: CurrentPlugin, invocation: Invocation, _inputs: list[int]) -> int:
    """The status of the last answer; 0 before the first."""
    return invocation.response.status if invocation.response else 0


def http_headers(plugin: CurrentPlugin, invocation: Invocation, _inputs: list[int]) -> int:
    """The offset of the last answer's headers, in JSON; 0 before the first."""
    return give(plugin, json.dumps(invocation.response.headers).encode()) if invocation.response else 0


def poll_oneoff(_plugin: CurrentPlugin, invocation: Invocation, _inputs: list[int]) -> int:
    """Naps, and succeeds without an event; for how long to sleep is in the guest's own memory, out of Extism's reach.

    Go and TinyGo look at the clock then and sleep on, until the deadline interrupts them; Rust's `sleep` panics.
    """
    time.sleep(min(NAP, invocation.deadline.remaining()))
    return 0


def _taken(plugin: CurrentPlugin, offset: int, most: int) -> bytes:
    """The bytes of a block that the guest hands over.

    Raises:
        PluginTrapped: It is larger than what is allowed, or not inside the memory.
    """
    block = block_at(plugin, offset)
    if block.length > most:
        raise PluginTrapped(f"the plugin handed over {block.length} bytes, where {most} are allowed")
    taken = _read(plugin, block)
    plugin.free(block)
    return taken


def _read(plugin: CurrentPlugin, block: Memory) -> bytes:
    try:
        return read_block(plugin, block) if block.length else b""
    except OutsideMemory as error:
        raise PluginTrapped("the plugin handed over what lies outside of its memory") from error
