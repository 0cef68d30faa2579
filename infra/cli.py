"""The command line: `extism-lambda`."""

import json
import logging
import os
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from handler.errors import ExtismLambdaError
from infra.errors import CommandError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""
Extism plugins (WebAssembly) on AWS Lambda, with DynamoDB behind their host functions.

* **serve** the plugins over HTTP on this machine, or **invoke** the Lambda handler on one event;
* look at the table with **memory**, and at the **plugins**;
* **build** the artifact that Lambda runs.

Settings are environment variables (`EXTISM_LAMBDA_TABLE`, `EXTISM_LAMBDA_PLUGINS`, ...: see the README). Without a
table or an endpoint an embedded DynamoDB with the messages of `infra/seed.json` stands in.
""",
)
out = Console()
err = Console(stderr=True, soft_wrap=True)


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 7070,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the plugins over HTTP until Ctrl-C.

    An embedded DynamoDB with the seed data answers the host functions, unless EXTISM_LAMBDA_TABLE or an endpoint
    (AWS_ENDPOINT_URL_DYNAMODB) is set, or EXTISM_LAMBDA_MEMORY is "map".
    """
    from infra import local

    local.serve(host, port, err)


@app.command()
def invoke(
    event: Annotated[Path, typer.Argument(metavar="EVENT.json", help="The event, as in infra/events/.")],
    timeout: Annotated[float, typer.Option(help="The function's timeout in seconds.", min=0.001, max=900)] = 10,
) -> None:
    """Give the Lambda handler one event and print its response.

    The exit code is 1 when the response's status is 400 or more.
    """
    from infra import local

    response = local.invoke(local.read_event(event), timeout, err)
    typer.echo(json.dumps(response, ensure_ascii=False, indent=2))
    if _status(response) >= HTTPStatus.BAD_REQUEST:
        raise typer.Exit(1)


@app.command()
def plugins(
    folder: Annotated[Path | None, typer.Option("--plugins", help="The folder of plugins.", file_okay=False)] = None,
) -> None:
    """List the plugins and check them, without calling them.

    Checked are plugin.toml, the module's hash, that it exports its functions, and that its imports are there and
    granted. The exit code is 1 when a plugin does not pass; the reasons are on stderr.
    """
    from handler.settings import BESIDE_THE_CODE
    from infra.inspection import inspect

    folder = folder or Path(os.environ.get("EXTISM_LAMBDA_PLUGINS") or BESIDE_THE_CODE / "plugins")
    table = Table("plugin", "functions", "reads", "isolation", "check", box=None)
    problems = []
    with err.status("Compiling the plugins …"):
        for finding in inspect(folder):
            spec = finding.spec
            reads = sorted(spec.reads.keys) + [f"{prefix}*" for prefix in spec.reads.prefixes] if spec else []
            functions = ", ".join(spec.functions) if spec else ""
            verdict = "[red]refused[/red]" if finding.problem else "[green]ok[/green]"
            table.add_row(finding.name, functions, ", ".join(reads), spec.isolation if spec else "", verdict)
            problems += [f"{finding.name}: {finding.problem}"] if finding.problem else []
    out.print(table)
    for problem in problems:
        err.print(problem, style="red", markup=False, highlight=False)
    if problems:
        raise typer.Exit(1)


@app.command()
def build(
    out_folder: Annotated[Path, typer.Option("--out", help="A new or empty folder, or a former artifact.")],
    python: Annotated[str, typer.Option(help="The runtime's Python: 3.12, 3.13 or 3.14.")] = "3.13",
    arch: Annotated[str, typer.Option(help="The function's architecture: x86_64 or arm64.")] = "x86_64",
) -> None:
    """Build the artifact that Lambda runs: locked dependencies, handler, plugins, byte code and compile cache."""
    from infra import artifact

    with err.status("Building …") as status:
        report = artifact.build(out_folder, python, arch, progress=lambda step: status.update(f"{step} …"))
    table = Table("part", "bytes", box=None)
    table.columns[1].justify = "right"
    for name, size in sorted(report.parts.items(), key=lambda part: -part[1]):
        table.add_row(name, f"{size:,}")
    table.add_row("total", f"{report.total:,}", style="bold")
    out.print(table)
    if report.cache == "off":
        err.print(f"No compile cache: {report.cache_reason}", style="yellow", markup=False)
    for path, milliseconds in report.cached.items():
        out.print(f"{path} loads from the compile cache in {milliseconds:.0f} ms here", highlight=False)


def _status(response: dict[str, Any]) -> int:
    """The status of a response, which HTTP events call statusCode and direct invocations status."""
    return int(response.get("statusCode", response.get("status", 200)))


def main() -> None:
    """Runs the command line; an error that has a name is a line on stderr, not a stack trace."""
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    try:
        app()
    except (ExtismLambdaError, CommandError) as error:
        err.print(f"extism-lambda: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(1) from None
