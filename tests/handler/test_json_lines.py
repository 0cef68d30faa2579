"""The request's line as JSON, and the metrics in it."""

import io
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import (
    InternalError,
    InvocationError,
    OutputTooLarge,
    PluginReportedError,
    StoreThrottled,
    UnknownPlugin,
)
from handler.json_lines import JsonTelemetry
from handler.telemetry import RequestRecord

NUMBERS = ("durationMs", "guestMs", "storeMs", "reads", "prefetchHits")


class Lines:
    """A telemetry that writes into a text, and what it has written."""

    def __init__(self, namespace: str = "Extism", level: int = logging.INFO) -> None:
        self._stream = io.StringIO()
        self.telemetry = JsonTelemetry(namespace, "function-1", level, self._stream)

    def text(self) -> str:
        """Everything so far."""
        return self._stream.getvalue()

    def read(self) -> list[dict[str, Any]]:
        """The lines so far."""
        return [json.loads(line) for line in self.text().split("\n")[:-1]]

    def metrics(self, line: int = -1) -> dict[tuple[str, ...], dict[str, float]]:
        """What CloudWatch makes of a line: by the values of each set of dimensions, the metrics by name."""
        document = self.read()[line]
        return {
            tuple(document[name] for name in dimensions): {
                metric["Name"]: document[metric["Name"]] for metric in directive["Metrics"]
            }
            for directive in document["_aws"]["CloudWatchMetrics"]
            for dimensions in directive["Dimensions"]
        }


def call(**values: Any) -> RequestRecord:
    """A call that went well."""
    return RequestRecord(**{"request_id": "request-1", "plugin": "gets", "function": "run"} | values)


def test_a_line_has_what_lambda_heeds() -> None:
    """The timestamp is RFC 3339 and the level is one that Lambda knows, or Lambda would not filter by it."""
    lines = Lines()
    lines.telemetry.finished(call())

    (line,) = lines.read()
    assert abs(datetime.fromisoformat(line["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["message"], line["requestId"]) == ("INFO", "gets.run: ok", "request-1")
    assert abs(line["_aws"]["Timestamp"] / 1000 - datetime.now(UTC).timestamp()) < 60


def test_metrics_of_calls() -> None:
    """An environment's first call is a cold start and tells the compile cache; what does not apply is left out."""
    lines = Lines()
    record = call(compile_cache="hit", total_seconds=0.012, guest_seconds=0.004, store_seconds=0.008, reads=2)
    lines.telemetry.finished(record)
    lines.telemetry.finished(call(compile_cache="hit", prefetch_hits=2, reads=2))
    lines.telemetry.finished(call(plugin="other", compile_cache="miss"))

    everything = {
        "invocations": 1,
        "errors": 0,
        "clientErrors": 0,
        "durationMs": 12.0,
        "guestMs": 4.0,
        "storeMs": 8.0,
        "reads": 2,
        "prefetchHits": 0,
        "throttles": 0,
        "coldStarts": 1,
        "compileCacheHits": 1,
        "compileCacheMisses": 0,
    }
    by_plugin = {name: everything[name] for name in ("invocations", "errors", "clientErrors", "durationMs")}
    assert lines.metrics(0) == {("function-1",): everything, ("function-1", "gets"): by_plugin}
    second = lines.metrics(1)[("function-1",)]
    assert second["coldStarts"] == 0 != second["prefetchHits"]
    assert "compileCacheHits" not in second
    third = lines.metrics(2)[("function-1",)]
    assert (third["coldStarts"], third["compileCacheHits"], third["compileCacheMisses"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (StoreThrottled("x"), {"errors": 1, "clientErrors": 0, "throttles": 1}),
        (InternalError("x"), {"errors": 1, "clientErrors": 0, "throttles": 0}),
        (PluginReportedError("x"), {"errors": 0, "clientErrors": 1, "throttles": 0}),
    ],
)
def test_metrics_of_failures(error: InvocationError, counted: dict[str, int]) -> None:
    """A call that failed is an invocation too, and counts by its type as well."""
    lines = Lines()
    lines.telemetry.failed(call(), error)

    metrics = lines.metrics()
    assert metrics["function-1",].items() >= ({"invocations": 1} | counted).items()
    assert set(metrics) == {("function-1",), ("function-1", "gets"), ("function-1", error.type)}
    assert metrics["function-1", error.type] == {name: counted[name] for name in ("errors", "clientErrors")}


def test_a_request_that_called_nothing_is_no_invocation() -> None:
    """A wrong path counts as a client's error; a warm-up ping only as a cold start, where it is one."""
    lines = Lines()
    lines.telemetry.finished(RequestRecord("request-1", "gets", outcome="warm", compile_cache="hit"))
    lines.telemetry.failed(RequestRecord("request-2"), UnknownPlugin("x"))

    ping = {"coldStarts": 1, "compileCacheHits": 1, "compileCacheMisses": 0}
    assert lines.metrics(0) == {("function-1",): ping}
    assert lines.metrics(1)[("function-1",)] == {"errors": 0, "clientErrors": 1, "coldStarts": 0}


def test_an_answer_that_does_not_fit_is_not_a_second_call() -> None:
    """The call was counted when it went well; its answer being too large counts as an error only."""
    lines = Lines()
    record = call()
    lines.telemetry.finished(record)
    lines.telemetry.failed(record, OutputTooLarge("x"))

    told = [line["_aws"]["CloudWatchMetrics"][0]["Metrics"] for line in lines.read()]
    assert [{"Name": "invocations", "Unit": "Count"} in metrics for metrics in told] == [True, False]


def test_a_failure_has_detail_causes_and_for_a_bug_a_stack_trace() -> None:
    """The log holds what no answer shows."""
    lines, error = Lines(), InternalError("something went wrong")
    error.__cause__ = KeyError("sourceIp")
    lines.telemetry.failed(call(), error)

    (line,) = lines.read()
    assert (line["level"], line["status"], line["outcome"]) == ("ERROR", 500, "internal-error")
    assert (line["detail"], line["causes"]) == ("something went wrong", ["KeyError: 'sourceIp'"])
    assert line["stackTrace"][0] == "KeyError: 'sourceIp'"


@pytest.mark.parametrize(
    ("namespace", "level", "written"),
    [
        ("", logging.INFO, ["INFO", "INFO", "ERROR"]),
        ("", logging.WARNING, ["ERROR"]),
        ("Extism", logging.WARNING, ["INFO", "INFO", "ERROR"]),
    ],
)
def test_the_level(namespace: str, level: int, written: list[str]) -> None:
    """Metrics are not subject to the level; lines without them are."""
    lines = Lines(namespace, level)
    lines.telemetry.finished(call())
    lines.telemetry.failed(call(), UnknownPlugin("x"))
    lines.telemetry.failed(call(), InternalError("x"))

    assert [line["level"] for line in lines.read()] == written
    assert all(("_aws" in line) == bool(namespace) for line in lines.read())


def test_a_guests_line() -> None:
    """It has the request's id, the plugin, and a level as Lambda spells it; nothing in it ends the line."""
    lines = Lines()
    lines.telemetry.guest_said(call(), logging.WARNING, 'a"}\n{"_aws": \x1b[2J\u2028💜')
    lines.telemetry.guest_said(call(), logging.DEBUG, "below the level")

    (line,) = lines.read()
    assert lines.text().isascii()
    assert (line["level"], line["requestId"], line["plugin"], line["function"]) == ("WARN", "request-1", "gets", "run")
    assert line["message"] == 'a"}\n{"_aws": \x1b[2J\u2028💜'
    assert "_aws" not in line


@given(
    request_id=st.text(),
    seconds=st.floats(0, 1000),
    reads=st.integers(0, 1000),
    name=st.sampled_from(["gets", "100%", "%(reads)d", 'a"b', "\0reads"]),
    namespace=st.sampled_from(["", "Extism", "100%s"]),
)
def test_an_ordinary_call_is_told_as_any_other(
    request_id: str, seconds: float, reads: int, name: str, namespace: str
) -> None:
    """The quick way to write a line gives what the plain one gives, whatever is in it."""
    lines = Lines(namespace)
    record = call(
        request_id=request_id,
        function=name,
        total_seconds=seconds,
        guest_seconds=seconds / 2,
        store_seconds=seconds / 3,
        reads=reads,
        prefetch_hits=reads // 2,
    )
    lines.telemetry.finished(call(function=name))
    lines.telemetry.finished(record)  # the quick way
    lines.telemetry.finished(RequestRecord(**{field: getattr(record, field) for field in FIELDS}, guest_lines=1))

    _, quick, plain = lines.read()
    assert plain.pop("guestLines") == 1
    assert plain.pop("guestLinesDropped") == 0
    for number in NUMBERS:
        assert quick.pop(number) == pytest.approx(plain.pop(number), abs=0.001)
    for line in (quick, plain):
        line.pop("timestamp")
        line.get("_aws", {}).pop("Timestamp", None)
    assert quick == plain


FIELDS = [
    "request_id",
    "plugin",
    "function",
    "total_seconds",
    "guest_seconds",
    "store_seconds",
    "reads",
    "prefetch_hits",
]


def test_a_log_that_cannot_be_written_fails_no_request() -> None:
    """A closed stdout costs the line, not the answer."""
    stream = io.StringIO()
    telemetry = JsonTelemetry("Extism", "function-1", logging.INFO, stream)
    stream.close()

    telemetry.finished(call())
