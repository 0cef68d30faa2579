"""One module in Extism: compiled, instantiated and called. Nothing here is shared between threads.

Facts that shape it (measured with extism 1.1.1, extism-sys 1.41.0; source: Extism's plugin.rs, sdk.rs and timer.rs):

* A call's return code tells how it ended: 134 a trap (`timeout` is one), -1 Extism itself, anything else is what the
  guest returned. The error that a guest sets is not Extism's affair; see kernel_functions.py.
* Left to itself, Extism runs a module's start function and `_initialize` without a timer, and once before host
  functions can work. modules.py keeps it from that, and the first call of an instance runs them like any function.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from extism.extism import CompiledPlugin, Error, Plugin

from handler.compile_cache import CompileCache
from handler.errors import (
    GuestDeadlineExceeded,
    OutputTooLarge,
    PluginOutOfMemory,
    PluginReportedError,
    PluginTrapped,
    PluginUnusable,
)
from handler.guest_memory import is_there
from handler.host_functions import HOST_FUNCTIONS
from handler.interruption import Watch, fence
from handler.invocation import Invocation
from handler.log_functions import LOG_FUNCTIONS
from handler.modules import MAGIC, ModuleRefused, prepare
from handler.plugins import PluginSpec

TRAPPED = 134
EXTISM_FAILED = -1
COMMAND = "_start"
MESSAGE_CHARACTERS = 2000
"""Most characters of a guest's error message that are passed on; the message can be as long as its memory."""
CRASHES = (
    "error while executing at wasm backtrace:",
    "Exited with i32 exit status",
    "failed to initialize wasi runtime",
)
"""How the messages begin with which Extism tells that a guest crashed; others are the guest's own."""
BEGIN = 0.005
"""Seconds without which a call is not begun: its interruption might come before the guest's first instruction."""
NEAR = 0.025
"""Seconds before its timeout from which on a call may be interrupted though it ends in time: the timer, kept off the
processor by others, looks at the clock before it looks at the message that the call is over."""
SHORTER = 0.025
"""Seconds by which a deadline must be nearer than the plugin's own timeout to be worth a thread that watches it."""

compile_cache = CompileCache()


class Module:
    """A compiled plugin with an engine of its own.

    Attributes:
        cache: What the compile cache did for it.
        milliseconds: How long it took to compile, or to load from the cache.

    Raises:
        PluginUnusable: The file cannot be read, has another hash, is no valid module, or needs an import that nobody
            grants.
    """

    def __init__(self, spec: PluginSpec) -> None:
        self.spec = spec
        entries, start = compile_cache.entries(), time.perf_counter()
        try:
            prepared = prepare(read(spec))
            with _as_file(prepared.code) as path:
                functions = [*HOST_FUNCTIONS, *LOG_FUNCTIONS]
                self._compiled = CompiledPlugin(_manifest(spec, path), wasi=spec.wasi, functions=functions)
        except (Error, OSError, ModuleRefused) as error:
            raise PluginUnusable(f"plugin {spec.name!r} cannot be loaded; the log says why") from error
        self._initializers = prepared.initializers
        self.milliseconds = (time.perf_counter() - start) * 1000
        self.cache = compile_cache.state_since(entries)

    def instantiate(self) -> "Instance":
        """A new instance, with a memory of its own; none of the guest's code runs yet."""
        try:
            return Instance(self._compiled, self.spec, self._initializers)
        except Error as error:
            raise PluginUnusable(f"plugin {self.spec.name!r} cannot be loaded; the log says why") from error


def read(spec: PluginSpec) -> bytes:
    """A plugin's module as it is on the disk, in binary form.

    Raises:
        OSError: It cannot be read.
        ModuleRefused: Its hash is another one, or it is a text that cannot be translated.
    """
    code = spec.wasm.read_bytes()
    if spec.sha256 is not None:
        found = hashlib.sha256(code).hexdigest()
        if found != spec.sha256:
            raise ModuleRefused(f"Hash mismatch: {spec.wasm.name} has the SHA-256 {found}")
    if spec.wasm.suffix == ".wat" and not code.startswith(MAGIC):
        return _translate(code)
    return code


def _translate(text: bytes) -> bytes:
    """WebAssembly text in binary form. The artifact holds no texts, since the build translates them."""
    try:
        import wasmtime  # noqa: PLC0415 - a tool of development
    except ImportError:
        raise ModuleRefused("text modules need the package wasmtime; `extism-lambda build` translates them") from None
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise ModuleRefused(str(error)) from error


@contextmanager
def _as_file(code: bytes) -> Iterator[Path]:
    """Lends the code under a path: Extism copies what it is given inline for every instance, at 0.4 ms for a Go guest.

    The file lies in memory where the system can do that, so that no folder has to be writable.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("module"), "wb") as file:
            file.write(code)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile(suffix=".wasm") as file:
            file.write(code)
            file.flush()
            yield Path(file.name)


def _manifest(spec: PluginSpec, wasm: Path) -> dict[str, Any]:
    """Extism's own description of what the guest may use."""
    return {
        "wasm": [{"path": str(wasm)}],
        "memory": {"max_pages": spec.limits.memory_pages},
        "config": dict(spec.config),
        "allowed_hosts": list(spec.allowed_hosts),
        "timeout_ms": spec.limits.timeout_ms,
    }


class Instance:
    """One instance of a module: for one thread at a time.

    Attributes:
        id: Extism's id of the instance.
        variables: What the guest has kept with `var_set`.
        sound: Whether it may be called again. A guest that trapped, ran out of time or memory, or ended itself may not.
    """

    def __init__(self, compiled: CompiledPlugin, spec: PluginSpec, initializers: tuple[str, ...]) -> None:
        self._plugin = _Plugin(compiled)
        self._spec = spec
        self._initializers = initializers
        self.id = str(self._plugin.id)
        self.variables: dict[bytes, bytes] = {}
        self.sound = True

    def check(self, functions: tuple[str, ...]) -> None:
        """Makes sure that the module exports these functions, without calling one.

        Raises:
            PluginUnusable: It lacks one, or exports it with parameters, which Extism does not call.
        """
        for function in functions:
            if not self._plugin.function_exists(function):
                raise PluginUnusable(
                    f"plugin {self._spec.name!r} does not export a function {function!r} without parameters"
                )

    def call(self, function: str, data: bytes, invocation: Invocation) -> bytes:
        """Calls an exported function with its input and returns its output.

        In a new instance, what the module wants to run first is run first, within the same deadline.

        Raises:
            PluginReportedError: The function set an error or returned something else than 0.
            PluginTrapped: It trapped or ended itself.
            PluginOutOfMemory: It wanted more memory than it may have.
            OutputTooLarge: Its output is over the limit.
            GuestDeadlineExceeded: The deadline, or the plugin's own timeout, passed first.
            PluginUnusable: The module does not export the function, or not as one that Extism can call.
        """
        self.check((*self._initializers, function))
        for initializer in self._initializers:
            self._run(initializer, b"", invocation)
        self._initializers = ()
        output = self._run(function, data, invocation)
        if function == COMMAND:
            self.sound = False  # a command runs once: Extism would make the next call another instance
        return output

    def _run(self, function: str, data: bytes, invocation: Invocation) -> bytes:
        deadline = invocation.deadline
        if deadline.remaining() < BEGIN:
            raise GuestDeadlineExceeded(f"no time was left to begin with plugin {self._spec.name!r}")
        timeout = self._spec.limits.timeout_ms / 1000
        calls = invocation.host_calls_left
        watch = (
            Watch(self._plugin, deadline, lambda: invocation.host_calls_left < calls)
            if deadline.remaining() + SHORTER < timeout
            else None
        )
        start = time.monotonic()
        self.sound = False
        failure: Error | None = None
        output = b""
        try:
            output = self._plugin.call(function, data, self._output)
        except Error as error:
            failure = error
        except OverflowError as error:
            raise OutputTooLarge(f"plugin {self._spec.name!r} set an output of impossible length") from error
        finally:
            cancelled = watch is not None and watch.end()
            left = timeout - (time.monotonic() - start)
            if cancelled or left < min(NEAR, timeout / 2):
                fence()  # or a late interruption would hit the next call
        words = (invocation.error or b"").decode(errors="replace")[:MESSAGE_CHARACTERS]
        if failure is not None:
            raise self._failure(failure, words, overdue=cancelled or left <= 0) from failure
        self.sound = True
        if words:
            raise PluginReportedError(words)
        return output

    def close(self) -> None:
        """Frees the instance; more than once is fine."""
        self.sound = False
        self._plugin.__exit__(None, None, None)

    def _output(self, buffer: Any) -> bytes:
        limit = self._spec.limits.output_bytes
        if len(buffer) > limit:
            raise OutputTooLarge(
                f"the output has {len(buffer)} bytes; plugin {self._spec.name!r} may answer with {limit}"
            )
        if len(buffer) and not is_there(buffer):
            raise PluginTrapped(f"plugin {self._spec.name!r} set an output outside of its memory")
        return bytes(buffer)

    def _failure(self, error: Error, words: str, *, overdue: bool) -> Exception:
        """What a failed call means; the instance stays sound only where the guest came to its end by itself."""
        code, message, name = self._plugin.return_code, str(error), self._spec.name
        match code, message:
            case 134, "timeout":
                return GuestDeadlineExceeded(f"plugin {name!r} did not end in time")
            case -1, _ if overdue:
                return GuestDeadlineExceeded(f"plugin {name!r} did not end in time")
            case -1, "oom":
                return PluginOutOfMemory(f"plugin {name!r} wanted more memory than its memory_pages")
            case -1, "failed to allocate extism memory":
                return PluginOutOfMemory(f"the input does not fit into the memory_pages of plugin {name!r}")
            case _ if code == TRAPPED or message.startswith(CRASHES):
                return PluginReportedError(words) if words else PluginTrapped(f"plugin {name!r} crashed")
            case _:
                self.sound = code != EXTISM_FAILED
                return PluginReportedError(words or f"the function returned {code}")


class _Plugin(Plugin):  # type: ignore[misc]
    """Extism's plugin, keeping the return code that it would drop."""

    return_code = 0

    def _check_error(self, rc: int) -> None:
        self.return_code = rc
        try:
            super()._check_error(rc)
        except UnicodeDecodeError as error:  # the guest's message is whatever it put there
            raise Error(error.object.decode(errors="replace")) from None
