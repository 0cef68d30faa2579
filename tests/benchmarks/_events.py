"""The event that is measured with, and the right answer to it."""

import json
from pathlib import Path
from typing import Any

from handler.memory.map import ARTICLE

EVENT = Path(__file__).resolve().parent.parent.parent / "infra" / "events" / "say-hello.json"
NAME = "Jane Doe"
GREETING = "\n".join([f"👋 Hello {NAME}", *(f"key: {key}, value: {value.decode()}" for key, value in ARTICLE.items())])


def http_event(path: str = "/", body: str = NAME) -> dict[str, Any]:
    """An HTTP API event (format 2.0) as API Gateway sends it."""
    event: dict[str, Any] = json.loads(EVENT.read_text(encoding="utf-8"))
    event |= {"rawPath": path, "body": body, "isBase64Encoded": False}
    event["headers"]["content-length"] = str(len(body.encode()))
    event["requestContext"]["http"]["path"] = path
    return event
