"""Which table a command means, and where it looks for it."""

import pytest

from infra.connection import REGION, TABLE, open_table
from infra.table import MemoryTable, TableError


@pytest.fixture(autouse=True)
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's account: neither credentials nor a region."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)


def opened(monkeypatch: pytest.MonkeyPatch, name: str | None = None, **environ: str) -> MemoryTable:
    """The table with these variables in the environment, where boto3 looks for them."""
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    return open_table(name, environ)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_endpoint_of_this_machine_needs_no_account(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Nobody listens there, so the request was signed and sent, in the local DynamoDB's region."""
    table = opened(monkeypatch, AWS_ENDPOINT_URL_DYNAMODB=f"http://{host}:9")
    with pytest.raises(TableError, match=rf"table {TABLE}: DynamoDB cannot be asked: Could not connect"):
        table.get("k")


def test_another_machines_endpoint_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region there is no client; the message names the variable that sets one."""
    with pytest.raises(TableError, match=r"table some-table: no DynamoDB client can be made: .*region.*AWS_REGION"):
        opened(monkeypatch, "some-table", AWS_ENDPOINT_URL_DYNAMODB="http://203.0.113.1:8000")


@pytest.mark.parametrize("endpoint", ["nonsense", "http://[", "http://"])
def test_an_endpoint_that_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The message names the variable, not a stack trace."""
    with pytest.raises(TableError, match="AWS_ENDPOINT_URL_DYNAMODB"):
        opened(monkeypatch, AWS_REGION=REGION, AWS_ENDPOINT_URL_DYNAMODB=endpoint)


def test_no_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither option, variable nor endpoint: the message names all three."""
    with pytest.raises(TableError, match=r"--table NAME or set EXTISM_LAMBDA_TABLE.*AWS_ENDPOINT_URL_DYNAMODB"):
        opened(monkeypatch)


@pytest.mark.parametrize(
    ("name", "variable", "told"),
    [("no table", "fine-table", "--table='no table'"), (None, "no table", "EXTISM_LAMBDA_TABLE='no table'")],
)
def test_a_name_that_no_table_can_have_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str | None, variable: str, told: str
) -> None:
    """The option comes before the variable, and the message says which of the two it was."""
    with pytest.raises(TableError, match=f"{told} is not allowed"):
        opened(monkeypatch, name, EXTISM_LAMBDA_TABLE=variable, AWS_REGION=REGION)
