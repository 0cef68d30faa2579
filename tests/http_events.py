"""Events for the handler: the golden ones of tests/events, and HTTP events made for a test."""

import base64
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "events"


def golden(name: str) -> Any:
    """The event in tests/events/NAME.json."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def request(path: str = "/", body: bytes = b"", *, method: str = "POST", **headers: str) -> dict[str, Any]:
    """An HTTP API event in format 2.0 with its body in base64; `_` in a header's name stands for `-`."""
    event: dict[str, Any] = golden("http-v2-default-stage")
    event |= {"rawPath": path, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    event["headers"] |= {"content-length": str(len(body))}
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    event["requestContext"]["http"] |= {"method": method, "path": path}
    return event


def body_of(response: dict[str, Any]) -> bytes:
    """The bytes that the client of an event source's response receives."""
    body: str = response["body"]
    return base64.b64decode(body, validate=True) if response["isBase64Encoded"] else body.encode()


def header_of(response: dict[str, Any], name: str) -> str | None:
    """A header of an event source's response, whichever form that has; None where it is missing."""
    single: dict[str, str] = response.get("headers") or {}
    multiple: dict[str, list[str]] = response.get("multiValueHeaders") or {}
    return single.get(name) or ", ".join(multiple.get(name, [])) or None
