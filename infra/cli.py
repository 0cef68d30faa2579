"""The command line: `extism-lambda`."""

import json
import logging
import os
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from handler.errors import ExtismLambdaError
from infra import memory_cli
from infra.console import err, out, printable, told
from infra.errors import CommandError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""
Extism plugins (WebAssembly) on AWS Lambda, with DynamoDB behind their host functions.

* **serve** the plugins over HTTP on this machine, or **invoke** the Lambda handler on one event;
* check the **plugins**, and read and write the table with **memory**;
* **build** the artifact that Lambda runs, and run a **local-stack** for what SAM runs in a container.

`serve` and `invoke` need no AWS account: without a table or an endpoint an embedded DynamoDB with the messages of
`infra/seed.json` stands in. Settings are environment variables; the README lists them all:

* `EXTISM_LAMBDA_TABLE`: the DynamoDB table, a name or an ARN;
* `EXTISM_LAMBDA_PLUGINS`: the folder of plugins, by default `plugins/`;
* `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_DYNAMODB` and what else boto3 reads.

Results go to stdout, all else to stderr. The exit code is 0, or 1 when a command could not do what it was asked for, or
2 when it was not understood.
""",
)
app.add_typer(memory_cli.app, name="memory")


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 7070,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the plugins over HTTP until Ctrl-C.

    `POST /` calls the default plugin, `POST /{plugin}/{function}` any other; `GET /plugins` lists them.

    An embedded DynamoDB with the seed data answers the host functions, unless `EXTISM_LAMBDA_TABLE` or an endpoint
    (`AWS_ENDPOINT_URL_DYNAMODB`) is set, or `EXTISM_LAMBDA_MEMORY` is `map`.
    """
    from infra import local

    local.serve(host, port, err)


@app.command()
def invoke(
    event: Annotated[Path, typer.Argument(metavar="EVENT.json", help="The event, as in infra/events/.")],
    timeout: Annotated[float, typer.Option(help="The function's timeout in seconds.", min=0.001, max=900)] = 10,
) -> None:
    """Give the Lambda handler one event and print its response.

    The event is what Lambda would get from API Gateway, a load balancer or a function URL, or a direct invocation such
    as `{"plugin": "simple", "function": "say_hello", "input": "Jane Doe"}`. The response is one JSON document.

    The exit code is 1 when the response's status is 400 or more.
    """
    from infra import local

    response = local.invoke(local.read_event(event), timeout, err)
    typer.echo(json.dumps(response, ensure_ascii=False, indent=2))
    if _status(response) >= HTTPStatus.BAD_REQUEST:
        raise typer.Exit(1)


@app.command()
def plugins(
    folder: Annotated[
        Path | None,
        typer.Option("--plugins", help="The folder of plugins, in place of EXTISM_LAMBDA_PLUGINS.", file_okay=False),
    ] = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print what the plugins may read as a statement of the function's role.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="With --policy: exit with 1 when template.yaml grants other keys.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="With --policy: write the keys into template.yaml.")] = False,
) -> None:
    """List the plugins and check them, without calling them.

    Checked are plugin.toml, the module's hash, that it exports its functions, and that its imports are there and
    granted. The exit code is 1 when a plugin does not pass; the reasons are on stderr.

    With `--policy` nothing is compiled: the keys that the plugins may read are printed as a statement of an IAM policy,
    compared with template.yaml, or written there.
    """
    from handler.settings import BESIDE_THE_CODE
    from infra.inspection import inspect

    folder = folder or Path(os.environ.get("EXTISM_LAMBDA_PLUGINS") or BESIDE_THE_CODE / "plugins")
    if policy:
        from infra import policy_cli

        policy_cli.run(folder, check=check, write=write)
        return
    if check or write:
        raise typer.BadParameter("--check and --write go with --policy")
    table = Table("plugin", "functions", "reads", "isolation", "check", box=None)
    problems = []
    with err.status("Compiling the plugins …"):
        for finding in inspect(folder):
            spec = finding.spec
            reads = sorted(spec.reads.keys) + [f"{prefix}*" for prefix in spec.reads.prefixes] if spec else []
            functions = ", ".join(spec.functions) if spec else ""
            verdict = "[red]refused[/red]" if finding.problem else "[green]ok[/green]"
            isolation = spec.isolation if spec else ""
            table.add_row(*map(printable, (finding.name, functions, ", ".join(reads), isolation)), verdict)
            problems += [f"{finding.name}: {finding.problem}"] if finding.problem else []
    out.print(table)
    for problem in problems:
        told(problem, style="red")
    if problems:
        raise typer.Exit(1)
    _tell_of_the_role(folder)


@app.command()
def build(
    out_folder: Annotated[Path, typer.Option("--out", help="A new or empty folder, or a former artifact.")] = Path(
        "build/artifact"
    ),
    python: Annotated[str, typer.Option(help="The runtime's Python: 3.12, 3.13 or 3.14.")] = "3.13",
    arch: Annotated[str, typer.Option(help="The function's architecture: x86_64 or arm64.")] = "x86_64",
) -> None:
    """Build the artifact that Lambda runs.

    It holds the locked dependencies, the handler, the plugins, their byte code and a compile cache for the plugins.
    `sam build` runs this command.
    """
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
        # On stdout, since `sam build` hides the stderr of a build that succeeds.
        out.print(f"No compile cache: {report.cache_reason}", style="yellow", markup=False, highlight=False)
    for path, milliseconds in report.cached.items():
        out.print(f"{path} loads from the compile cache in {milliseconds:.0f} ms here", highlight=False)
    _tell_of_the_role(None)


def _tell_of_the_role(folder: Path | None) -> None:
    """Says when the function that template.yaml deploys could not read what this project's plugins may."""
    from infra import policy_cli

    if difference := policy_cli.deployed_difference(folder):
        told(difference, style="yellow")


@app.command("local-stack")
def local_stack(
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The address to listen at; by default one that containers reach."),
    ] = None,
    port: Annotated[int, typer.Option(help="The port to listen at; 0 for any that is free.", min=0, max=65535)] = 8000,
    reached_as: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="What containers call that address, where it is not the address itself."),
    ] = None,
    env_file: Annotated[
        Path, typer.Option(metavar="PATH", help="The file to write for SAM; - prints it.", allow_dash=True)
    ] = Path("build/local-stack.json"),
    seed: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="The table's items, in place of infra/seed.json.")
    ] = None,
) -> None:
    """Run the DynamoDB side of `sam local` until Ctrl-C.

    A DynamoDB with the template's table and the seed data listens where SAM's containers reach it, and a file tells
    them of it: `sam local invoke -e EVENT.json -n build/local-stack.json`, or `sam local start-api -n ...`. Ctrl-C ends
    it and removes the file. Whoever reaches the address can read and write the table.
    """
    from infra import local_stack as stack
    from infra.local_dynamodb import SEED

    stack.local_stack(err, host, port, reached_as=reached_as, env_file=env_file, seed=seed or SEED)


def _status(response: dict[str, Any]) -> int:
    """The status of a response, which HTTP events call statusCode and direct invocations status."""
    return int(response.get("statusCode", response.get("status", 200)))


def main() -> None:
    """Runs the command line; an error that has a name is a line on stderr, not a stack trace."""
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    try:
        app()
    except (ExtismLambdaError, CommandError) as error:
        told(f"extism-lambda: {error}", style="red")
        raise SystemExit(1) from None
