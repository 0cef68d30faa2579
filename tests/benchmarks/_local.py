"""This project's handler and its parts in the measuring process, over plugins of a folder of choice."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from handler.composition import create_handler
from infra.local import LocalContext
from tests.benchmarks._tools import ROOT

PLUGINS = ROOT / "plugins"
TIMEOUT = 60.0
"""Seconds that the made-up Lambda invocation has."""

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
        handler({"warmup": True}, LocalContext(TIMEOUT))
        yield lambda event: handler(event, LocalContext(TIMEOUT))
    finally:
        handler.close()


@contextmanager
def logged_as_in_lambda() -> Iterator[dict[str, str]]:
    """Gives the settings with which every call writes its line, metrics included; the lines go to a null device."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield {
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "EXTISM_LAMBDA_METRICS": "ExtismLambda",
        }


def map_environment(plugins: Path = PLUGINS) -> dict[str, str]:
    """The settings of a handler whose memory is the in-process map."""
    return {"EXTISM_LAMBDA_MEMORY": "map", "EXTISM_LAMBDA_PLUGINS": str(plugins)}
