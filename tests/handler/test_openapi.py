"""The OpenAPI document, and requests made from it (schemathesis), against the whole application."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import given, settings
from openapi_spec_validator import validate
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from handler.composition import create_app, create_service
from handler.openapi import document
from handler.plugins import load_catalog
from handler.settings import Settings
from tests import guests
from tests.conftest import MakeHandler, MakePlugin
from tests.contexts import FakeContext
from tests.http_events import body_of, request

if TYPE_CHECKING:
    from schemathesis.specs.openapi.schemas import OpenApiSchema

EXAMPLES = 25


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application over two plugins that can do no wrong."""
    folder = tmp_path_factory.mktemp("plugins")
    guests.make_plugin(folder, "echo", guests.ECHO, content_type="application/octet-stream")
    guests.make_plugin(folder, "greeter", guests.ECHO, functions=["run"], limits={"input_bytes": 20})
    environ = {
        "EXTISM_LAMBDA_PLUGINS": str(folder),
        "EXTISM_LAMBDA_MEMORY": "map",
        "EXTISM_LAMBDA_DEFAULT_PLUGIN": "echo",
    }
    configured = Settings.from_environ(environ)
    service = create_service(configured)
    yield create_app(configured, service)
    service.release()


@pytest.fixture(scope="module")
def api(app: Any) -> "OpenApiSchema":
    """What schemathesis makes of the document that the application serves."""
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_answer_is_documented(api: "OpenApiSchema") -> None:
    """Whatever is sent, the status, the media type and the body are what the document says, and none is a 500."""
    operations = [result.ok() for result in api.get_all_operations() if isinstance(result, Ok)]
    assert {"POST /", "HEAD /openapi.json", "POST /greeter/run"} <= {one.label for one in operations}
    for operation in operations:

        @settings(max_examples=EXAMPLES)
        @given(case=operation.as_strategy())
        def answered(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])  # the document tells of no bytes

        answered()


def test_the_document_is_valid(plugins: Path, make_plugin: MakePlugin) -> None:
    """It is OpenAPI 3.1, with every function of every plugin at its path."""
    make_plugin("counter", guests.COUNTER, functions=list(guests.COUNTER_FUNCTIONS))
    make_plugin("echo", guests.ECHO)
    described = document(load_catalog(plugins), "echo", "/stage")

    validate(described)
    assert {"/", "/echo", "/echo/run", "/counter"} <= set(described["paths"])
    assert {f"/counter/{function}" for function in guests.COUNTER_FUNCTIONS} <= set(described["paths"])
    assert described["servers"] == [{"url": "/stage"}]


def test_a_lambda_serves_it(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """GET /openapi.json answers with it, and HEAD too, as do the other routes that only tell something."""
    make_plugin("echo", guests.ECHO)
    handler = make_handler()

    for path in ("/openapi.json", "/plugins", "/healthz", "/readyz"):
        for method in ("GET", "HEAD"):
            assert handler(request(path, method=method), FakeContext())["statusCode"] == 200
    assert b"/echo/run" in body_of(handler(request("/openapi.json", method="GET"), FakeContext()))
