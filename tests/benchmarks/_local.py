"""This project's handler and its parts in the measuring process, over plugins of a folder of choice."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handler.composition import create_handler
from infra.local import LocalContext
from tests.benchmarks._tools import ROOT

PLUGINS = ROOT / "plugins"
TIMEOUT = 60.0
"""Seconds that the made-up Lambda invocation has."""

PLAIN = frozenset(vars(logging.makeLogRecord({})))
"""What every log record has."""

Invoke = Callable[[Any], dict[str, Any]]


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the length of a `with` block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def own_handler(environment: Mapping[str, str]) -> Iterator[Invoke]:
    """The Lambda handler with settings of its own, ready: its plugin has an instance and was called by nobody."""
    with variables(environment):
        handler = create_handler(os.environ)
    try:
        # As in template.yaml each invocation logs a line. Lambda takes it from stderr; here it is made and dropped.
        handler({"warmup": True}, LocalContext(TIMEOUT))
        yield lambda event: handler(event, LocalContext(TIMEOUT))
    finally:
        handler.close()


class Formatted(logging.Handler):
    """Makes a line of JSON of each record, as Lambda's runtime client does where LogFormat is JSON, and drops it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Formats one record."""
        added = {name: value for name, value in vars(record).items() if name not in PLAIN}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        head = {"timestamp": stamp, "level": record.levelname, "message": record.getMessage(), "logger": record.name}
        json.dumps({**head, **added, "requestId": ""}, ensure_ascii=False)


@contextmanager
def logged_as_in_lambda() -> Iterator[None]:
    """Lets the service's log lines be made and formatted, as they are on Lambda, without showing them."""
    root, handler = logging.getLogger(), Formatted()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def map_environment(plugins: Path = PLUGINS) -> dict[str, str]:
    """The settings of a handler whose memory is the in-process map."""
    return {"EXTISM_LAMBDA_MEMORY": "map", "EXTISM_LAMBDA_PLUGINS": str(plugins)}
