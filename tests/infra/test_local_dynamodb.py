"""The DynamoDB that runs inside the process."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from infra.addresses import AddressError
from infra.connection import REGION, TABLE
from infra.items import Item, ItemError
from infra.local_dynamodb import LocalDynamoDB, LocalDynamoDBError, local_dynamodb
from infra.template import Template


@pytest.fixture(scope="class")
def running() -> Iterator[LocalDynamoDB]:
    """One that has its seed."""
    with local_dynamodb() as dynamodb:
        yield dynamodb


class TestRunning:
    """While it runs."""

    def test_its_table_is_the_templates(self, running: LocalDynamoDB) -> None:
        """The table has the keys, the billing, the encryption and the time to live that template.yaml gives it."""
        client = running.client()
        table = client.describe_table(TableName=TABLE)["Table"]
        expected = Template.read().table(TABLE)
        assert table["KeySchema"] == expected["KeySchema"]
        assert table["AttributeDefinitions"] == expected["AttributeDefinitions"]
        assert table["BillingModeSummary"]["BillingMode"] == expected["BillingMode"]
        assert table["SSEDescription"]["Status"] == "ENABLED"
        expiry = client.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
        assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}

    def test_it_holds_the_seed(self, running: LocalDynamoDB) -> None:
        """The article's messages are there."""
        response = running.client().get_item(TableName=TABLE, Key={"key": {"S": "message"}})
        assert response["Item"] == Item("message", "I 💜 Extism 😍").to_attributes()

    def test_every_region_and_every_credential_sees_the_table(self, running: LocalDynamoDB) -> None:
        """A function finds the table whatever region and credentials `sam local` gives it."""
        client = boto3.client(
            "dynamodb",
            endpoint_url=running.endpoint,
            region_name="eu-central-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="else",
            aws_session_token="for a while",
        )
        assert client.list_tables()["TableNames"] == [TABLE]

    def test_another_process_finds_it_by_the_environment(self, running: LocalDynamoDB) -> None:
        """`environment()` is all that a process with boto3's defaults needs."""
        program = """
import boto3, json, os
table = os.environ["EXTISM_LAMBDA_TABLE"]
print(json.dumps(boto3.client("dynamodb").get_item(TableName=table, Key={"key": {"S": "hello"}})["Item"]))
"""
        environment = running.environment() | {"PATH": os.environ["PATH"], "HOME": os.devnull}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert json.loads(done.stdout) == {"key": {"S": "hello"}, "value": {"S": "👋 Hello World 🌍"}}

    def test_a_second_one_in_the_process_is_refused(self, running: LocalDynamoDB) -> None:
        """Two would share their tables, so the second does not start, and the first keeps its items."""
        with pytest.raises(LocalDynamoDBError, match="runs in this process already"), local_dynamodb():
            pytest.fail("it started")
        assert running.client().scan(TableName=TABLE)["Count"] == 2

    def test_a_proxy_of_the_environment_is_not_asked(
        self, running: LocalDynamoDB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its client reaches this machine directly."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert running.client().list_tables()["TableNames"] == [TABLE]


class TestLife:
    """How it begins and ends. Each test has one of its own."""

    def test_the_environment_stays_as_it_is(self) -> None:
        """Neither running it nor having run it changes a variable of this process."""
        before = dict(os.environ)
        with local_dynamodb() as dynamodb:
            dynamodb.client().list_tables()
            assert dict(os.environ) == before
        assert dict(os.environ) == before

    def test_it_does_not_log_requests(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Nothing is printed, neither at the start nor for a request nor at the end."""
        with local_dynamodb() as dynamodb:
            dynamodb.client().list_tables()
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
    def test_it_ends_whatever_happens(self, interruption: type[BaseException]) -> None:
        """Ctrl-C and errors end it, and the address is free again."""
        seen: list[LocalDynamoDB] = []
        with pytest.raises(interruption):
            interrupt(interruption, seen)
        (dynamodb,) = seen
        client = dynamodb.client()
        with pytest.raises(EndpointConnectionError):
            client.list_tables()
        port = int(dynamodb.endpoint.rpartition(":")[2])
        with local_dynamodb(port=port) as again:
            assert again.endpoint == dynamodb.endpoint

    def test_each_begins_anew(self) -> None:
        """What was written to one is not in the next, and other tables are gone too."""
        with local_dynamodb(table="first") as dynamodb:
            dynamodb.client().put_item(TableName="first", Item=Item("left", "over").to_attributes())
        with local_dynamodb(table="first", seed=None) as dynamodb:
            assert dynamodb.client().scan(TableName="first")["Items"] == []
        with local_dynamodb(table="second") as dynamodb:
            assert dynamodb.client().list_tables()["TableNames"] == ["second"]
            assert dynamodb.environment()["EXTISM_LAMBDA_TABLE"] == "second"

    def test_a_taken_port_is_told(self) -> None:
        """The error names the address, and nothing hangs or exits."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(AddressError, match=f"127.0.0.1:{port}"), local_dynamodb(port=port):
                pytest.fail("it started")

    @pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("203.0.113.1", 0)])
    def test_an_impossible_address_is_told(self, host: str, port: int) -> None:
        """The error names the address."""
        with pytest.raises(AddressError, match=f"cannot listen at {host}:{port}"), local_dynamodb(host, port):
            pytest.fail("it started")

    def test_a_wrong_seed_is_told(self, tmp_path: Path) -> None:
        """A seed file that breaks its format stops the start, and the next start works."""
        seed = tmp_path / "seed.json"
        seed.write_text('[{"key": "a"}]')
        with pytest.raises(ItemError, match="item 0"), local_dynamodb(seed=seed):
            pytest.fail("it started")
        with local_dynamodb() as dynamodb:
            assert dynamodb.client().meta.region_name == REGION


def interrupt(interruption: type[BaseException], seen: list[LocalDynamoDB]) -> None:
    """Raises while one runs, and notes which one that was."""
    with local_dynamodb() as dynamodb:
        dynamodb.client().list_tables()
        seen.append(dynamodb)
        raise interruption
