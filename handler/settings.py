"""The settings, read once from environment variables."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from handler.errors import ConfigurationError

T = TypeVar("T")

BESIDE_THE_CODE = Path(__file__).resolve().parent.parent
MAXIMUM_CONCURRENCY = 64
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
NAMESPACE = re.compile(r"(?!AWS/)[A-Za-z0-9_.#:/-]{1,255}")  # CloudWatch API Reference, PutMetricData
TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}|arn:[a-zA-Z0-9_.:/-]{1,1020}")


class MemoryKind(StrEnum):
    """What answers `hostMemoryGet`."""

    DYNAMODB = "dynamodb"
    MAP = "map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings; `from_environ` says which variable gives which, and the README has the table.

    Attributes:
        plugins: The folder of plugins, one folder each.
        default_plugin: The plugin that `POST /` runs.
        memory: What answers `hostMemoryGet`.
        region: AWS_REGION, which boto3 itself does not read; None leaves it to boto3 (AWS_DEFAULT_REGION, a profile).
        table: The DynamoDB table's name or ARN; empty only where the memory is the map.
        consistent_reads: Whether reads are strongly consistent, at twice the read units.
        concurrency: How many calls of one plugin may run at the same time in one process.
        base_path: What precedes the routes in a request's path, as a custom domain's API mapping does.
        log_level: The level of the project's loggers.
        json_lines: Whether requests are told in lines of JSON: where Lambda's own log format is JSON.
        metrics: CloudWatch's namespace for the metrics in those lines; empty for none.
        function_name: The Lambda function's name, a dimension of the metrics.
        server_timing: Whether answers have a `Server-Timing` header.
    """

    plugins: Path
    default_plugin: str
    memory: MemoryKind
    region: str | None
    table: str
    consistent_reads: bool
    concurrency: int
    base_path: str
    log_level: str
    json_lines: bool
    metrics: str
    function_name: str
    server_timing: bool

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Reads the settings from environment variables; an empty variable counts as one that is not set.

        Raises:
            ConfigurationError: A value is not allowed; the message names the variable, the value and what is allowed.
        """

        def read(name: str, default: str, parse: Callable[[str], T], allowed: str) -> T:
            value = environ.get(name) or default
            try:
                return parse(value)
            except ValueError:
                raise ConfigurationError(f"{name}={value!r} is not allowed: expected {allowed}") from None

        memory = read("EXTISM_LAMBDA_MEMORY", "dynamodb", MemoryKind, "dynamodb or map")
        return cls(
            plugins=read(
                "EXTISM_LAMBDA_PLUGINS",
                str(BESIDE_THE_CODE / "plugins"),
                _folder,
                "a folder that exists, of plugin folders",
            ),
            default_plugin=environ.get("EXTISM_LAMBDA_DEFAULT_PLUGIN") or "simple",
            memory=memory,
            region=environ.get("AWS_REGION") or None,
            table=read(
                "EXTISM_LAMBDA_TABLE",
                "",
                _table if memory is MemoryKind.DYNAMODB else str,
                "the name or the ARN of a DynamoDB table (or set EXTISM_LAMBDA_MEMORY=map)",
            ),
            consistent_reads=read("EXTISM_LAMBDA_CONSISTENT_READS", "false", _boolean, "true or false"),
            concurrency=read(
                "EXTISM_LAMBDA_CONCURRENCY", "1", _concurrency, f"a whole number from 1 to {MAXIMUM_CONCURRENCY}"
            ),
            base_path=read("EXTISM_LAMBDA_BASE_PATH", "/", _base_path, "a path that begins with /, such as /plugins"),
            log_level=read("EXTISM_LAMBDA_LOG_LEVEL", "INFO", _log_level, ", ".join(LOG_LEVELS)),
            json_lines=environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON",
            metrics=read(
                "EXTISM_LAMBDA_METRICS",
                "",
                _namespace,
                "a CloudWatch namespace: 1 to 255 letters, digits and .-_/#: that do not begin with AWS/",
            ),
            function_name=environ.get("AWS_LAMBDA_FUNCTION_NAME") or "extism-lambda",
            server_timing=read("EXTISM_LAMBDA_SERVER_TIMING", "false", _boolean, "true or false"),
        )


def _folder(value: str) -> Path:
    path = Path(value)
    if not path.is_dir():
        raise ValueError(value)
    return path.absolute()


def _table(value: str) -> str:
    if not TABLE_NAME.fullmatch(value):
        raise ValueError(value)
    return value


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(value)
    return value.lower() == "true"


def _concurrency(value: str) -> int:
    number = int(value)
    if not 1 <= number <= MAXIMUM_CONCURRENCY:
        raise ValueError(value)
    return number


def _base_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(value)
    return value.rstrip("/")


def _namespace(value: str) -> str:
    if value and not NAMESPACE.fullmatch(value):
        raise ValueError(value)
    return value


def _log_level(value: str) -> str:
    if value.upper() not in LOG_LEVELS:
        raise ValueError(value)
    return value.upper()
