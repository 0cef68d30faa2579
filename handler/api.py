"""The HTTP API: routes, and how errors become problem documents. It knows plugins by name and no more."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from handler.deadline import Deadline
from handler.errors import BadRequest, InternalError, InvocationError, MethodNotAllowed, NotFound
from handler.problems import MEDIA_TYPE, problem, record_of
from handler.service import PluginService, Target, check_input
from handler.telemetry import RequestRecord

T = TypeVar("T")

RECORD = "extism_lambda.record"
"""Where in a request's ASGI scope its record is."""

READ = ["GET", "HEAD"]

LENGTH_DIGITS = 18
"""Most digits of a Content-Length that is worth reading: Python refuses 4,301, and the body itself is counted too."""


class Run(Protocol):
    """How blocking work is run: in place in Lambda, where nobody else waits for the loop; in a thread under `serve`."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Runs it and gives what it gives."""
        ...


async def in_place(work: Callable[[], T], /) -> T:
    """Runs blocking work right here: a Lambda environment serves one request at a time."""
    return work()


def create_app(service: PluginService, run: Run = in_place, *, server_timing: bool = False) -> FastAPI:
    """The FastAPI application over a service.

    Args:
        service: What runs plugins.
        run: How blocking work is run.
        server_timing: Whether outputs have a `Server-Timing` header.
    """
    app = FastAPI(
        title="extism-lambda",
        description="Extism plugins over HTTP",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # the route below has it, and tells more
        telemetry={"tracing": False, "metrics": False, "logs": False},  # there is no OpenTelemetry SDK to take them
        redirect_slashes=False,  # a redirect would lead out of a REST API's stage, which its paths do not show
    )

    async def call(request: Request) -> Response:
        """Runs a function of a plugin with the body as its input, and answers with its output."""
        target = service.find(**request.path_params)
        data = await _body(request, target)
        record = _record(request)
        output = await run(lambda: service.run(target, data, _deadline(request), record))
        headers = {"content-type": target.plugin.content_type}
        if server_timing:
            headers["server-timing"] = record.server_timing()
        return Response(output, headers=headers)

    # Plain routes: the body is bytes and the path's parameters are texts, so there is nothing to inject or to validate.
    # For a declared parameter FastAPI imports all of pydantic.v1, 5 % of a cold start, and to inject the request alone
    # takes it a tenth of a warm call.
    app.add_route("/", call, methods=["POST"])

    # Before the routes with a parameter, which match these paths too: the first match tells the allowed methods.
    @app.api_route("/plugins", methods=READ, response_class=JSONResponse)
    async def list_plugins() -> Response:
        """All plugins, with the functions that may be called."""
        plugins = [
            {
                "name": spec.name,
                "description": spec.description,
                "functions": spec.functions,
                "contentType": spec.content_type,
                "default": spec.name == service.default_plugin,
            }
            for spec in service.catalog.values()
        ]
        return JSONResponse({"plugins": plugins})

    @app.api_route("/openapi.json", methods=READ, response_class=JSONResponse)
    async def describe(request: Request) -> Response:
        """The OpenAPI document of these routes and of the plugins behind them."""
        from handler.openapi import document  # noqa: PLC0415 - seldom asked for

        return JSONResponse(document(service.catalog, service.default_plugin, request.scope.get("root_path", "")))

    @app.api_route("/healthz", methods=READ, response_class=JSONResponse)
    async def healthz() -> Response:
        """Whether the process answers; touches neither a plugin nor the memory."""
        return JSONResponse({"status": "ok"})

    @app.api_route("/readyz", methods=READ, response_class=JSONResponse)
    async def readyz(request: Request) -> Response:
        """Whether the default plugin can be called and the memory can be read."""
        await run(lambda: service.check(_deadline(request)))
        return JSONResponse({"status": "ready"})

    app.add_route("/{plugin}", call, methods=["POST"])
    app.add_route("/{plugin}/{function}", call, methods=["POST"])

    async def on_invocation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, InvocationError)  # noqa: S101 - registered for nothing else
        record = _record(request)
        service.telemetry.failed(record, error)
        return problem_response(error, record.request_id)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        """What the router refuses: an unknown path, a method that a path does not have."""
        assert isinstance(error, HTTPException)  # noqa: S101
        record, refused = _record(request), _refused(request, error)
        service.telemetry.failed(record, refused)
        return problem_response(refused, record.request_id, error.headers)

    async def on_unexpected(request: Request, error: Exception) -> Response:
        failure = InternalError("something went wrong that should not; the log says what")
        failure.__cause__ = error
        return await on_invocation_error(request, failure)

    app.add_exception_handler(InvocationError, on_invocation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_unexpected)
    return app


async def _body(request: Request, target: Target) -> bytes:
    """The body, refused as soon as it is known to be over the plugin's limit."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) <= LENGTH_DIGITS:
        check_input(target, int(announced))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        check_input(target, len(body))
    return bytes(body)


def _deadline(request: Request) -> Deadline:
    """The end of the Lambda invocation that brought the request; none where there is no such thing."""
    return Deadline.of_lambda(request.scope.get("aws.context"))


def _record(request: Request) -> RequestRecord:
    """The record of a request, made when it is first asked for."""
    record: RequestRecord | None = request.scope.get(RECORD)
    if record is None:
        record = request.scope[RECORD] = record_of(request.scope.get("aws.context"))
    return record


def _refused(request: Request, error: HTTPException) -> InvocationError:
    path = request.scope["path"]  # not `request.url`, which raises on a scheme that a client makes up
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(f"there is nothing at {path!r}")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{request.method} {path!r}: {error.detail}")
    return BadRequest(f"{request.method} {path!r}: {error.detail}")


def problem_response(error: InvocationError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as an HTTP response."""
    retry = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse(problem(error, request_id), error.status, {**(headers or {}), **retry}, MEDIA_TYPE)
