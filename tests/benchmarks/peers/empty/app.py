"""A handler that does nothing."""

from typing import Any


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answers with an empty body."""
    return {"statusCode": 200, "headers": {}, "body": "", "isBase64Encoded": False}
