"""Extism's log functions, as host functions of our own: what a guest writes gets the request's id, and has bounds.

They shadow Extism's, which write to one buffer for the whole process: it has no bound, does not tell the request, and
loses lines with a null byte (extism 1.1.1, extism-sys 1.41.0; source: Extism's sdk.rs and pdk.rs; plugin.rs links host
functions last, and lets them shadow what has their namespace and name).

What a guest prints to WASI's stdout and stderr goes nowhere. Extism could only let it through to those of the process,
where it would have no bound and could forge lines of the log.
"""

import logging
from contextlib import suppress
from typing import Any

from extism.extism import CurrentPlugin, Function, Memory, Val, ValType, host_fn

from handler.guest_log import LINE_BYTES
from handler.guest_memory import OutsideMemory, block_at, read_block
from handler.invocation import current_invocation

logger = logging.getLogger("handler.guest")

NAMESPACE = "extism:host/env"
LEVELS = {
    "log_trace": logging.DEBUG,
    "log_debug": logging.DEBUG,
    "log_info": logging.INFO,
    "log_warn": logging.WARNING,
    "log_error": logging.ERROR,
}
"""Extism's functions, and their levels in `logging`, which has none below DEBUG."""
NUMBERS = ((logging.DEBUG, 0), (logging.INFO, 2), (logging.WARNING, 3), (logging.ERROR, 4))
"""Extism's numbers of levels (TRACE is 0, DEBUG 1), as `get_log_level` tells the lowest one that is written."""


def _log_function(name: str, level: int) -> Function:
    def log(plugin: CurrentPlugin, inputs: list[Val], _outputs: list[Val], *_user_data: object) -> None:
        block = block_at(plugin, inputs[0].value)
        if block.length == 0:
            return
        if logger.isEnabledFor(level):
            with suppress(OutsideMemory):  # the guest wrote itself a length that reaches beyond its memory
                line = read_block(plugin, Memory(block.offset, min(block.length, LINE_BYTES)))
                current_invocation().say(level, line)
        plugin.free(block)  # as Extism's own do: what a guest hands over is the host's

    return _declared(name, [ValType.I64], [], log)


def _get_log_level(_plugin: CurrentPlugin, _inputs: list[Val], outputs: list[Val], *_user_data: object) -> None:
    """Tells PDKs what they need not even format. Works while a guest is being instantiated, as Extism's own does."""
    outputs[0].value = next((number for level, number in NUMBERS if logger.isEnabledFor(level)), NUMBERS[-1][1])


def _declared(name: str, takes: list[ValType], gives: list[ValType], function: Any) -> Function:
    return host_fn(name=name, namespace=NAMESPACE, signature=(takes, gives))(function)


# Declared once, here: each declaration stays in Extism's global registry for ever.
LOG_FUNCTIONS: list[Function] = [
    *(_log_function(name, level) for name, level in LEVELS.items()),
    _declared("get_log_level", [], [ValType.I32], _get_log_level),
]
