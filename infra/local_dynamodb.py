"""A DynamoDB of one's own: moto's server inside this process, with the table of template.yaml and its seed data."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from infra.addresses import in_url, listen
from infra.connection import ACCESS_KEY, REGION, TABLE
from infra.errors import CommandError
from infra.items import Item, read_items
from infra.template import Template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SEED = Path(__file__).resolve().parent / "seed.json"

SIGNED_REGION = re.compile(r"(Credential=[^/,]+/\d{8}/)[^/]+(/dynamodb/)")

CLIENT_CONFIG = Config(
    connect_timeout=2,  # seconds, as is the next
    read_timeout=10,
    proxies={},  # a proxy that the environment names is none for this machine itself
)

_RUNNING = Lock()


class LocalDynamoDBError(CommandError):
    """The local DynamoDB cannot be started."""


@dataclass(frozen=True, slots=True)
class LocalDynamoDB:
    """A DynamoDB that is running.

    Attributes:
        endpoint: Its URL.
        table: The name of its table.
    """

    endpoint: str
    table: str

    def client(self) -> "DynamoDBClient":
        """A client with the region and the credentials that the environment need not have."""
        return boto3.client(
            "dynamodb",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=ACCESS_KEY,
            config=CLIENT_CONFIG,
        )

    def environment(self) -> dict[str, str]:
        """The environment variables with which other processes, and boto3's defaults, find the table."""
        return {
            "AWS_ENDPOINT_URL_DYNAMODB": self.endpoint,
            # boto3 reads the second alone; Lambda sets both, and other SDKs read the first.
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
            "EXTISM_LAMBDA_TABLE": self.table,
        }


@contextlib.contextmanager
def local_dynamodb(
    host: str = "127.0.0.1", port: int = 0, table: str = TABLE, *, seed: Path | None = SEED
) -> Iterator[LocalDynamoDB]:
    """Runs a DynamoDB for the length of a `with` block, and ends it whatever happens in there.

    The table is created from template.yaml's own definition. It is found from every region and with any credentials.
    moto keeps its tables in the process, so there is one such DynamoDB at a time, and each begins anew.

    Args:
        host: The address to listen at.
        port: The port to listen at; 0 for any that is free.
        table: The table's name.
        seed: The file of items that the table begins with, or None for an empty table.

    Raises:
        AddressError: The address is taken or is not this machine's.
        LocalDynamoDBError: One runs in this process already.
        ItemError: The seed file breaks its format.
        TemplateError: The template cannot be read.
    """
    template = Template.read()
    items = read_items(seed) if seed else []
    with _one_per_process(), listen(host, port) as listener:
        port = listener.getsockname()[1]
        server = make_server(
            host,
            port,
            _any_region(DomainDispatcherApplication(create_backend_app)),
            threaded=True,
            request_handler=_QuietHandler,
            fd=listener.fileno(),
        )
        # Looks twenty times a second whether it shall end.
        thread = Thread(target=server.serve_forever, args=(0.05,), name="local-dynamodb", daemon=True)
        thread.start()
        try:
            running = LocalDynamoDB(f"http://{in_url(host)}:{port}", table)
            _create_table(running, template, items)
            yield running
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _one_per_process() -> Iterator[None]:
    if not _RUNNING.acquire(blocking=False):
        raise LocalDynamoDBError("a local DynamoDB runs in this process already, and moto keeps one set of tables")
    backend = get_backend("dynamodb")
    try:
        backend.reset()
        yield
    finally:
        backend.reset()
        _RUNNING.release()


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing: who asks has the answer."""


def _any_region(application: Any) -> Any:
    """Shows one set of tables to every region: moto tells regions apart by what a request is signed for."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        environ["HTTP_AUTHORIZATION"] = SIGNED_REGION.sub(rf"\g<1>{REGION}\g<2>", authorization)
        return application(environ, start_response)

    return call


def _create_table(running: LocalDynamoDB, template: Template, items: list[Item]) -> None:
    client = running.client()
    try:
        client.create_table(**template.table(running.table))
        if attribute := template.time_to_live_attribute():
            client.update_time_to_live(
                TableName=running.table, TimeToLiveSpecification={"AttributeName": attribute, "Enabled": True}
            )
        for item in items:
            client.put_item(TableName=running.table, Item=item.to_attributes())
    finally:
        client.close()
