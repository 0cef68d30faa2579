"""Settings from environment variables."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ConfigurationError
from handler.settings import LOG_LEVELS, MAXIMUM_CONCURRENCY, MemoryKind, Settings

HERE = str(Path(__file__).parent)
MINIMAL = {"EXTISM_LAMBDA_PLUGINS": HERE, "EXTISM_LAMBDA_TABLE": "memory"}


def settings(**environ: str) -> Settings:
    """The settings of a minimal environment with changes."""
    return Settings.from_environ(MINIMAL | {f"EXTISM_LAMBDA_{name}": value for name, value in environ.items()})


def refusal(name: str, value: str) -> str | None:
    """What a value is refused with; None where it is taken."""
    try:
        settings(**{name: value})
    except ConfigurationError as error:
        return str(error)
    return None


def test_everything_but_the_table_has_a_default() -> None:
    """With only folder and table set, the rest is what the README's table says."""
    assert settings() == Settings(
        plugins=Path(HERE),
        default_plugin="simple",
        memory=MemoryKind.DYNAMODB,
        region=None,
        table="memory",
        consistent_reads=False,
        concurrency=1,
        base_path="",
        log_level="INFO",
        json_lines=False,
        metrics="",
        function_name="extism-lambda",
        server_timing=False,
    )


def test_plugins_lie_beside_the_code_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without EXTISM_LAMBDA_PLUGINS the folder plugins/ beside handler/ is meant, wherever the process was started."""
    (tmp_path / "plugins").mkdir()
    monkeypatch.setattr("handler.settings.BESIDE_THE_CODE", tmp_path)
    monkeypatch.chdir("/")

    assert Settings.from_environ({"EXTISM_LAMBDA_TABLE": "memory"}).plugins == tmp_path / "plugins"


def test_every_setting_can_be_set() -> None:
    """Each variable reaches its field."""
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/memory"

    changed = settings(
        DEFAULT_PLUGIN="other",
        MEMORY="dynamodb",
        TABLE=arn,
        CONSISTENT_READS="True",
        CONCURRENCY="8",
        BASE_PATH="/v1/plugins/",
        LOG_LEVEL="debug",
        METRICS="Extism",
        SERVER_TIMING="true",
    )

    assert dataclasses.asdict(changed) == {
        "plugins": Path(HERE),
        "default_plugin": "other",
        "memory": MemoryKind.DYNAMODB,
        "region": None,
        "table": arn,
        "consistent_reads": True,
        "concurrency": 8,
        "base_path": "/v1/plugins",
        "log_level": "DEBUG",
        "json_lines": False,
        "metrics": "Extism",
        "function_name": "extism-lambda",
        "server_timing": True,
    }


def test_an_empty_variable_counts_as_not_set() -> None:
    """A template that passes an empty string on gets the default."""
    names = ("DEFAULT_PLUGIN", "MEMORY", "CONSISTENT_READS", "CONCURRENCY", "BASE_PATH", "LOG_LEVEL", "METRICS")

    assert settings(**dict.fromkeys((*names, "SERVER_TIMING"), "")) == settings()


def test_the_map_needs_no_table() -> None:
    """Where the memory is the map, no table has to be named."""
    environ = {"EXTISM_LAMBDA_PLUGINS": HERE, "EXTISM_LAMBDA_MEMORY": "map"}

    assert Settings.from_environ(environ).table == ""


def test_settings_cannot_be_changed() -> None:
    """The object is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().concurrency = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PLUGINS", "/no/such/folder", "a folder that exists"),
        ("PLUGINS", __file__, "a folder that exists"),
        ("MEMORY", "redis", "dynamodb or map"),
        ("MEMORY", "DYNAMODB", "dynamodb or map"),
        ("TABLE", "", "EXTISM_LAMBDA_MEMORY=map"),
        ("TABLE", "ab", "name or the ARN"),
        ("TABLE", "my table", "name or the ARN"),
        ("TABLE", "memory\n", "name or the ARN"),
        ("TABLE", "x" * 256, "name or the ARN"),
        ("CONSISTENT_READS", "yes", "true or false"),
        ("CONSISTENT_READS", "1", "true or false"),
        ("CONCURRENCY", "0", f"from 1 to {MAXIMUM_CONCURRENCY}"),
        ("CONCURRENCY", "-1", f"from 1 to {MAXIMUM_CONCURRENCY}"),
        ("CONCURRENCY", str(MAXIMUM_CONCURRENCY + 1), f"from 1 to {MAXIMUM_CONCURRENCY}"),
        ("CONCURRENCY", "two", f"from 1 to {MAXIMUM_CONCURRENCY}"),
        ("CONCURRENCY", "1.5", f"from 1 to {MAXIMUM_CONCURRENCY}"),
        ("BASE_PATH", "api", "begins with /"),
        ("LOG_LEVEL", "LOUD", ", ".join(LOG_LEVELS)),
        ("METRICS", "AWS/Lambda", "a CloudWatch namespace"),
        ("METRICS", "my metrics", "a CloudWatch namespace"),
        ("METRICS", "x" * 256, "a CloudWatch namespace"),
        ("SERVER_TIMING", "on", "true or false"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    """The message holds the variable, the value as given and what is allowed."""
    message = refusal(name, value) or "it was taken"

    assert f"EXTISM_LAMBDA_{name}={value!r}" in message
    assert allowed in message


@given(st.text())
def test_no_text_crashes_a_setting(value: str) -> None:
    """Whatever a variable holds, it is read or refused with its name."""
    for name in (
        "DEFAULT_PLUGIN",
        "MEMORY",
        "TABLE",
        "CONSISTENT_READS",
        "CONCURRENCY",
        "BASE_PATH",
        "LOG_LEVEL",
        "METRICS",
        "SERVER_TIMING",
    ):
        assert f"EXTISM_LAMBDA_{name}=" in (refusal(name, value) or f"EXTISM_LAMBDA_{name}=")


@given(st.integers(min_value=1, max_value=MAXIMUM_CONCURRENCY))
def test_any_allowed_concurrency_is_taken(number: int) -> None:
    """All numbers in the range that the message names are allowed."""
    assert settings(CONCURRENCY=str(number)).concurrency == number


@pytest.mark.parametrize(("log_format", "json_lines"), [("JSON", True), ("Text", False), ("", False)])
def test_json_is_logged_where_lambda_logs_json(log_format: str, *, json_lines: bool) -> None:
    """The function's LogFormat, which Lambda tells in a variable of its own, decides."""
    environ = {"EXTISM_LAMBDA_TABLE": "memory", "AWS_LAMBDA_LOG_FORMAT": log_format, "AWS_LAMBDA_FUNCTION_NAME": "f"}

    assert Settings.from_environ(environ).json_lines == json_lines
    assert Settings.from_environ(environ).function_name == "f"


def test_the_region_is_the_one_that_lambda_names() -> None:
    """AWS_REGION, which boto3 itself does not read, gives the region; without it boto3 finds one."""
    assert Settings.from_environ({"EXTISM_LAMBDA_TABLE": "memory", "AWS_REGION": "eu-west-1"}).region == "eu-west-1"
    assert Settings.from_environ({"EXTISM_LAMBDA_TABLE": "memory"}).region is None
