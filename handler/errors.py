"""Every way in which a request can fail, as one tree: a class is a row of the README's error table.

    ExtismLambdaError
    ├── ConfigurationError          a setting or a plugin.toml is wrong: the environment does not start
    ├── QueueEventRefused           an event whose records an answer would acknowledge: the Lambda invocation fails
    └── InvocationError             one request failed; the next one is served as if nothing had happened
        ├── BadRequest              400
        │   └── UnsupportedEvent
        ├── NotFound                404
        │   ├── UnknownPlugin
        │   └── FunctionNotExposed
        ├── MethodNotAllowed        405
        ├── InputTooLarge           413
        ├── PluginReportedError     422  the plugin's own message is the detail
        ├── PluginFailed            500
        │   ├── PluginTrapped
        │   ├── PluginOutOfMemory
        │   ├── OutputTooLarge
        │   ├── PluginUnusable      it does not load: hash, export, import
        │   ├── HostCallsExceeded
        │   ├── NetworkAccessDenied
        │   ├── MemoryAccessDenied
        │   └── InvalidMemoryKey
        ├── InternalError           500
        ├── NetworkFailed           502
        ├── StoreFailed             502
        ├── Unavailable             503  with Retry-After
        │   ├── StoreThrottled
        │   ├── StoreUnreachable
        │   └── NoFreeInstance
        └── DeadlineExceeded        504
            ├── GuestDeadlineExceeded
            └── StoreDeadlineExceeded

What is given to the constructor is public: it becomes the `detail` of the answer. What must stay inside (a wasm
backtrace, a table's name, a path) travels as the `__cause__` and reaches the log only.
"""

from typing import ClassVar


class ExtismLambdaError(Exception):
    """The root of all errors that this project raises on purpose."""


class ConfigurationError(ExtismLambdaError):
    """A setting or a plugin.toml that cannot be used; the message names the thing, its value and what is allowed."""


class QueueEventRefused(ExtismLambdaError):
    """An event of a queue, a stream or a notification.

    To return anything would acknowledge its records and lose them, so the invocation fails.
    """


class InvocationError(ExtismLambdaError):
    """A request that failed, with the status that it is answered with.

    Attributes:
        status: The HTTP status code.
        type: The stable name of the problem, the `type` of RFC 9457.
        title: The problem in a few words, the same for every occurrence.
        retry_after: After how many seconds to try again, where that may help.
        detail: This occurrence in words, fit for anybody's eyes.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The request could not be served"
    retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(InvocationError):
    """The event or the request has a form that cannot be read."""

    status = 400
    type = "bad-request"
    title = "The request cannot be read"


class UnsupportedEvent(BadRequest):
    """An event that is neither HTTP nor a direct invocation nor a warm-up ping."""

    type = "unsupported-event"
    title = "The event is of no supported kind"


class NotFound(InvocationError):
    """There is nothing at that path."""

    status = 404
    type = "not-found"
    title = "There is nothing at this path"


class UnknownPlugin(NotFound):
    """No plugin has that name."""

    type = "plugin-not-found"
    title = "There is no such plugin"


class FunctionNotExposed(NotFound):
    """plugin.toml does not list the function, whatever the module exports."""

    type = "function-not-found"
    title = "The plugin has no such function"


class MethodNotAllowed(InvocationError):
    """The path is there, but not with that method."""

    status = 405
    type = "method-not-allowed"
    title = "The path does not have this method"


class InputTooLarge(InvocationError):
    """The body is over the plugin's `input_bytes`."""

    status = 413
    type = "input-too-large"
    title = "The input is too large for this plugin"


class PluginReportedError(InvocationError):
    """The plugin ran to its end and said that it failed; its message is the detail."""

    status = 422
    type = "plugin-error"
    title = "The plugin reported an error"


class PluginFailed(InvocationError):
    """The plugin could not do its work."""

    type = "plugin-failed"
    title = "The plugin failed"


class PluginTrapped(PluginFailed):
    """The guest trapped, or ended itself with an exit code."""

    type = "plugin-trapped"
    title = "The plugin crashed"


class PluginOutOfMemory(PluginFailed):
    """The guest wanted more than its `memory_pages`."""

    type = "plugin-out-of-memory"
    title = "The plugin ran out of memory"


class OutputTooLarge(PluginFailed):
    """The output is over the plugin's `output_bytes`, or over what Lambda can carry."""

    type = "output-too-large"
    title = "The plugin's output is too large"


class PluginUnusable(PluginFailed):
    """The module does not load: its hash, an export or an import does not fit its plugin.toml."""

    type = "plugin-unusable"
    title = "The plugin cannot be loaded"


class HostCallsExceeded(PluginFailed):
    """The guest called host functions more often than its `host_calls`."""

    type = "host-calls-exceeded"
    title = "The plugin asked too often"


class NetworkAccessDenied(PluginFailed):
    """The guest asked a host that its plugin.toml does not grant."""

    type = "network-access-denied"
    title = "The plugin may not ask this host"


class MemoryAccessDenied(PluginFailed):
    """The guest asked for a key that its plugin.toml does not grant."""

    type = "memory-access-denied"
    title = "The plugin may not read this key"


class InvalidMemoryKey(PluginFailed):
    """The guest asked for a key that is not 1 to 2048 bytes of UTF-8."""

    type = "memory-key-invalid"
    title = "The plugin asked for a key that cannot exist"


class InternalError(InvocationError):
    """Something that should not happen did; the log says what."""


class NetworkFailed(InvocationError):
    """A host that the guest asked cannot be reached or does not answer properly."""

    status = 502
    type = "network-failed"
    title = "A host that the plugin needs did not answer"


class StoreFailed(InvocationError):
    """DynamoDB refused, broke, or holds something that cannot be read."""

    status = 502
    type = "store-failed"
    title = "The memory could not be read"


class Unavailable(InvocationError):
    """It may work in a moment."""

    status = 503
    type = "unavailable"
    title = "Not available at the moment"
    retry_after = 1


class StoreThrottled(Unavailable):
    """DynamoDB throttles."""

    type = "store-throttled"
    title = "The memory is throttled"


class StoreUnreachable(Unavailable):
    """No answer from DynamoDB: no connection, or it broke."""

    type = "store-unreachable"
    title = "The memory cannot be reached"


class NoFreeInstance(Unavailable):
    """All instances of the plugin were busy for as long as a request may wait."""

    type = "no-free-instance"
    title = "All instances of the plugin are busy"


class DeadlineExceeded(InvocationError):
    """The time of the plugin or of the Lambda invocation is over.

    Attributes:
        spent_in: Where the time went: `guest` or `store`.
    """

    status = 504
    type = "deadline-exceeded"
    title = "The time is over"
    spent_in: ClassVar[str]


class GuestDeadlineExceeded(DeadlineExceeded):
    """The guest, its loading included, spent the time."""

    spent_in = "guest"


class StoreDeadlineExceeded(DeadlineExceeded):
    """Waiting for DynamoDB spent the time."""

    spent_in = "store"
