"""Tables of DynamoDB for tests: made, filled and addressed."""

from functools import cache
from typing import TYPE_CHECKING, Any

import boto3

from handler.memory.dynamodb import CLIENT_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE = "memory-of-the-plugins"


@cache
def create_session() -> boto3.Session:
    """A session that all tests share, since making one takes long."""
    return boto3.Session()


def create_client(endpoint: str | None = None) -> "DynamoDBClient":
    """A client configured as the handler's is, at an endpoint; made faster than boto3.client makes one."""
    return create_session().client("dynamodb", config=CLIENT_CONFIG, endpoint_url=endpoint)


def create_table(client: "DynamoDBClient", name: str = TABLE) -> None:
    """Makes an empty table of the form that the store reads."""
    client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )


def put(client: "DynamoDBClient", key: str, value: bytes | str, name: str = TABLE, **attributes: Any) -> None:
    """Puts an item: text as S, bytes as B; further attributes in DynamoDB's own form."""
    typed = {"S": value} if isinstance(value, str) else {"B": value}
    client.put_item(TableName=name, Item={"key": {"S": key}, "value": typed, **attributes})
