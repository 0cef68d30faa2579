"""Which memory table a command means, and a client for it."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from handler.settings import TABLE_NAME
from infra.addresses import is_own_address
from infra.table import MemoryTable, TableError

TABLE = "extism-lambda-memory"
"""The local DynamoDB's table."""
REGION = "us-east-1"
"""The region that requests to a local DynamoDB are signed for."""
ACCESS_KEY = "local"
"""Both the access key and its secret for a local DynamoDB: nobody checks them."""

ENDPOINTS = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL")
"""The variables from which boto3 takes DynamoDB's endpoint, the first before the second."""

PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
"""A person waits longer than a request does; times are in seconds."""


def open_table(name: str | None, environ: Mapping[str, str]) -> MemoryTable:
    """Makes a client for a memory table; asks DynamoDB nothing yet.

    Endpoint, region and credentials are boto3's own, and AWS_REGION, which Lambda sets and boto3 does not read, comes
    before AWS_DEFAULT_REGION. An endpoint on this machine needs neither a region nor credentials: where there are
    none, made-up ones sign the requests.

    Args:
        name: The table's name or ARN; None for that of EXTISM_LAMBDA_TABLE, or else, with an endpoint, that of the
            local DynamoDB.
        environ: The environment variables that boto3 will find in `os.environ`.

    Raises:
        TableError: No table is named, or no client can be made; the message says what to do.
    """
    endpoint = next((environ[variable] for variable in ENDPOINTS if environ.get(variable)), None)
    table = _table_name(name, environ, endpoint)
    local = endpoint is not None and _is_local(endpoint)
    try:
        session = _local_session() if local else boto3.Session()
        client = session.client(
            "dynamodb",
            region_name=environ.get("AWS_REGION") or session.region_name or (REGION if local else None),
            # A proxy that the environment names is none for this machine itself.
            config=PATIENCE.merge(Config(proxies={})) if local else PATIENCE,
        )
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise TableError(
            f"table {table}: no DynamoDB client can be made: {error} (AWS_REGION, {ENDPOINTS[0]})"
        ) from error
    return MemoryTable(client, table)


def _table_name(name: str | None, environ: Mapping[str, str], endpoint: str | None) -> str:
    source = "EXTISM_LAMBDA_TABLE" if name is None else "--table"
    if name is None:
        name = environ.get("EXTISM_LAMBDA_TABLE") or (TABLE if endpoint else None)
    if name is None:
        raise TableError(
            "no table is named: give --table NAME or set EXTISM_LAMBDA_TABLE; for the DynamoDB that a running "
            "`extism-lambda serve` embeds, set AWS_ENDPOINT_URL_DYNAMODB to the endpoint that it prints"
        )
    if not TABLE_NAME.fullmatch(name):
        raise TableError(f"{source}={name!r} is not allowed: expected the name or the ARN of a DynamoDB table")
    return name


def _is_local(endpoint: str) -> bool:
    """Whether an endpoint is on this machine, be it at an address that only its containers know."""
    try:
        host = urlsplit(endpoint).hostname
    except ValueError:
        return False
    return host == "localhost" or (host is not None and is_own_address(host))


def _local_session() -> boto3.Session:
    """A session with somebody's credentials where there are any, else with made-up ones."""
    session = botocore.session.Session()
    # Nobody's laptop has EC2's metadata service, and to find that out takes seconds.
    session.get_component("credential_provider").remove("iam-role")
    if session.get_credentials() is None:
        session.set_credentials(ACCESS_KEY, ACCESS_KEY)
    return boto3.Session(botocore_session=session)
