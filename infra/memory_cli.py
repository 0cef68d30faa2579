"""The command line's part for the table: `extism-lambda memory`."""

import base64
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from infra.console import err, out, printable, told
from infra.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.items import Item
    from infra.table import MemoryTable

app = typer.Typer(
    no_args_is_help=True,
    help="""
Read and write the table that `hostMemoryGet` reads.

The table is `--table`, or else `EXTISM_LAMBDA_TABLE`. Region, credentials and endpoint are boto3's own (`AWS_REGION`,
`AWS_PROFILE`, `AWS_ENDPOINT_URL_DYNAMODB`, ...). The DynamoDB that a running `extism-lambda serve` embeds needs nothing
but the endpoint that `serve` prints:

`AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:PORT extism-lambda memory list`
""",
)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key, 1 to 2048 bytes of UTF-8.", show_default=False)]
TableName = Annotated[
    str | None,
    typer.Option("--table", metavar="NAME", help="The table's name or ARN, in place of EXTISM_LAMBDA_TABLE."),
]


SHOWN = 500
"""Most characters of a value that a list looks at; a terminal's line takes fewer."""


@app.command()
def get(
    key: Key,
    as_base64: Annotated[bool, typer.Option("--base64", help="Print the value in base64, whatever it is.")] = False,
    table: TableName = None,
) -> None:
    """Print the value of a key, byte for byte.

    Bytes that are no text are shown in base64 on a terminal, and as they are in a pipe or a file. The exit code is 1
    when there is no such key, or when it has expired.
    """
    item = _open(table).get(key)
    if item is None:
        raise CommandError(f"there is no key {key!r}")
    if item.has_expired():
        raise CommandError(f"key {key!r} is not there any more: it {_expiry(item)}")
    on_terminal = sys.stdout.isatty()
    value = item.raw_value
    if as_base64 or (on_terminal and not _is_text(value)):
        if not as_base64:
            told(f"{len(value)} bytes that are no text, in base64 (to a pipe or a file they go as they are):")
        typer.echo(base64.b64encode(value))
        return
    typer.echo(value, nl=on_terminal and not value.endswith(b"\n"))


@app.command()
def put(
    key: Key,
    text: Annotated[str | None, typer.Argument(metavar="VALUE", help="The value, a text.")] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A file with the value, text or bytes; - is stdin.", allow_dash=True),
    ] = None,
    as_base64: Annotated[
        str | None, typer.Option("--base64", metavar="TEXT", help="The value in base64, for bytes.")
    ] = None,
    ttl: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="After how many seconds the item expires.")
    ] = None,
    expires_at: Annotated[
        int | None, typer.Option(metavar="EPOCH", min=0, help="When the item expires, in seconds since 1970 (UTC).")
    ] = None,
    table: TableName = None,
) -> None:
    """Write an item, in place of one with the same key.

    Give the value in one of three ways: VALUE, --file or --base64. Without --ttl or --expires-at it never expires. A
    KEY or VALUE that begins with a dash comes after two dashes: `memory put -- KEY -1`.
    """
    import time

    from infra.items import Item, decode

    if sum(given is not None for given in (text, file, as_base64)) != 1:
        raise CommandError("give the value in exactly one way: VALUE, --file PATH or --base64 TEXT")
    if ttl is not None and expires_at is not None:
        raise CommandError("give --ttl or --expires-at, not both")
    if ttl is not None:
        expires_at = int(time.time()) + ttl
    value = text if text is not None else _read(file) if file is not None else decode(as_base64 or "", "--base64")
    item = Item(key, value, expires_at)
    _open(table).put(item)
    told(f"Written: {_describe(item)}")


@app.command()
def delete(key: Key, table: TableName = None) -> None:
    """Delete a key.

    The exit code is 1 when there was no such key.
    """
    if not _open(table).delete(key):
        raise CommandError(f"there is no key {key!r}")
    told(f"Deleted: key {key!r}")


@app.command("list")
def list_(
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="What the keys begin with.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Most items to show.")] = 100,
    after: Annotated[
        str | None, typer.Option(metavar="KEY", help="Go on after this key, the last one of the list before.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, each in the form that `memory load` takes.")
    ] = False,
    table: TableName = None,
) -> None:
    """List items, in DynamoDB's own order.

    DynamoDB has no order of keys: it reads, and bills, the whole table for a --prefix. Expired items are listed until
    DynamoDB deletes them. The exit code is 1 when an item is there that the function could not read.
    """
    page = _open(table).list_items(prefix, limit=limit, after=after)
    if as_json:
        for item in page.items:
            typer.echo(json.dumps(item.to_entry(), ensure_ascii=False))
    else:
        out.print(_table_of(page.items))
    for message in page.unreadable:
        told(f"unreadable: {message}", style="red")
    if page.after is not None:
        told(f"There may be more: go on with --after {shlex.quote(page.after)}")
    if page.unreadable:
        raise typer.Exit(1)


@app.command()
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The items, as in infra/seed.json.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, and write nothing.")] = False,
    start: Annotated[
        int, typer.Option("--from", metavar="N", min=0, help="Pass over the first N items, written before.")
    ] = 0,
    table: TableName = None,
) -> None:
    """Write the items of a file, each in place of one with the same key.

    The file is a JSON list of objects with the fields "key", "value" (text) or "value_base64" (bytes), and, if wanted,
    "expires_at" (epoch seconds). It is checked whole before the first write. A load that ends early says how to go on;
    to begin again does no harm.
    """
    from infra.items import read_items
    from infra.table import LoadError

    items = read_items(file)
    if start > len(items):
        raise CommandError(f"--from {start} is not allowed: {file} has {len(items)} items")
    if dry_run:
        size = sum(item.size for item in items[start:])
        typer.echo(f"{file} is fine: {len(items) - start} items, {size:,} bytes. Nothing was written.")
        return
    memory = _open(table)
    columns = (TextColumn("Loading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("Loading", total=len(items), completed=start)
        try:
            memory.load(items, lambda written: progress.advance(task, written), start=start)
        except LoadError as error:
            raise CommandError(f"{error}; go on with --from {error.written}") from error
    typer.echo(f"Written: {len(items) - start} of {len(items)} items of {file}")


def _open(table: str | None) -> "MemoryTable":
    import os

    from infra.connection import open_table

    return open_table(table, os.environ)


def _read(file: Path) -> str | bytes:
    """The content of a file: text where it is text, so that the table shows it as such."""
    try:
        content = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror or error}") from error
    return content.decode() if _is_text(content) else content


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _table_of(items: "Sequence[Item]") -> Table:
    table = Table(
        Column("key", overflow="fold"),
        Column("value", no_wrap=True, overflow="ellipsis", ratio=1),
        Column("bytes", justify="right", no_wrap=True),
        Column("expires", no_wrap=True),
        box=None,
        expand=True,  # a ratio counts only so, and without one long values leave no room for keys
    )
    for item in items:
        value = printable(item.value[:SHOWN]) if isinstance(item.value, str) else Text("(bytes)", style="dim")
        expires = Text("" if item.expires_at is None else _expiry(item), style="red" if item.has_expired() else "")
        table.add_row(printable(item.key), value, f"{len(item.raw_value):,}", expires)
    return table


def _expiry(item: "Item") -> str:
    if item.expires_at is None:
        return "never expires"
    time = datetime.fromtimestamp(item.expires_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"expired {time}" if item.has_expired() else f"expires {time}"


def _describe(item: "Item") -> str:
    kind = "of text" if isinstance(item.value, str) else "that need not be text"
    return f"key {item.key!r}, {len(item.raw_value):,} bytes {kind}, {_expiry(item)}"
