"""The functions that are measured: this project's own artifact, and what one would take instead (see peers/)."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from infra import byte_code, compile_cache
from infra.artifact import build
from infra.building import BuildError
from infra.interpreters import find_interpreter, find_uv
from tests.benchmarks._measure import CannotRun
from tests.benchmarks._sandbox import Function, Runtime, machine_architecture
from tests.benchmarks._tools import (
    BUILT,
    GO,
    NODE,
    ROOT,
    RUNTIME_CLIENT,
    Missing,
    files,
    node,
    npm_install,
    once,
    pip_install,
    run,
)

PEERS = Path(__file__).parent / "peers"
WASM = ROOT / "plugins" / "simple" / "simple.wasm"
REQUIREMENTS = ROOT / "requirements.txt"
PORT = "tests.benchmarks.peers.port.app"
PYTHON = "3.13"
"""The minor version of Lambda's runtime in template.yaml."""

PROBE = "import sys, sysconfig; print(sys.base_prefix); print(sysconfig.get_config_var('CONFIG_ARGS') or '')"


def python() -> Path:
    """An interpreter of the version that Lambda runs.

    Raises:
        CannotRun: There is none.
    """
    try:
        return find_interpreter(PYTHON)
    except BuildError as error:
        raise CannotRun(str(error)) from error


def python_configuration() -> str:
    """How that interpreter was configured: whether it is optimized is a good part of every Python figure."""
    return run(python(), "-c", PROBE).splitlines()[1]


def python_runtime(handler: str) -> Runtime:
    """The interpreter and AWS's runtime client for Python, with its byte code."""
    interpreter = python()
    client = once(
        "python-client",
        [RUNTIME_CLIENT, str(interpreter)],
        lambda folder: pip_install(folder, "--no-deps", "--compile-bytecode", *RUNTIME_CLIENT, python=interpreter),
    )
    lang = Path(run(interpreter, "-c", PROBE).splitlines()[0])
    return Runtime(
        lang,
        client,
        (f"/var/lang/bin/python{PYTHON}", "-m", "awslambdaric", handler),
        {
            "PYTHONPATH": "/var/runtime",
            "LD_LIBRARY_PATH": "/var/lang/lib",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{PYTHON}",
        },
    )


def ours(root: Path = ROOT, name: str = "ours") -> Function:
    """The artifact that `extism-lambda build` makes, of this or another project's root; built anew each time.

    Raises:
        CannotRun: It cannot be built.
    """
    out = BUILT / name
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        report = build(out, PYTHON, machine_architecture(), root=root)
    except BuildError as error:
        raise CannotRun(str(error)) from error
    if report.cache != "made":
        raise CannotRun(f"the artifact has no compile cache: {report.cache_reason}")
    return Function(out, python_runtime("handler.main.handler"))


def without(function: Function, *patterns: str) -> Function:
    """A copy of an artifact that lacks some files or folders."""
    out = function.task.with_name(f"{function.task.name}-without-{patterns[0]}")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(function.task, out, ignore=shutil.ignore_patterns(*patterns))
    return replace(function, task=out)


def without_compile_cache(function: Function) -> Function:
    """The same artifact, compiling its plugins at every cold start."""
    return without(function, compile_cache.FOLDER)


def without_byte_code(function: Function) -> Function:
    """The same artifact as source alone."""
    return without(function, "__pycache__")


def port() -> Function:
    """The straightforward port, without byte code and compile cache."""

    def make(folder: Path) -> None:
        _install(folder, "boto3", "extism", "fastapi", "mangum")
        shutil.copy(PEERS / "port" / "app.py", folder)
        shutil.copy(WASM, folder)

    task = once("port", [*files(PEERS / "port"), REQUIREMENTS, WASM], make)
    return Function(task, python_runtime("app.handler"), {"EXTISM_CACHE_CONFIG": ""})


def bare() -> Function:
    """The stack without any plugin, with byte code."""

    def make(folder: Path) -> None:
        _install(folder, "boto3", "fastapi", "mangum")
        shutil.copy(PEERS / "bare" / "app.py", folder)
        byte_code.compile_all(folder, python())

    task = once("bare", [*files(PEERS / "bare"), REQUIREMENTS, str(python())], make)
    return Function(task, python_runtime("app.handler"))


def empty() -> Function:
    """Nothing but the runtime."""

    def make(folder: Path) -> None:
        shutil.copy(PEERS / "empty" / "app.py", folder)
        byte_code.compile_all(folder, python())

    task = once("empty", [*files(PEERS / "empty"), str(python())], make)
    return Function(task, python_runtime("app.handler"))


def node_peer() -> Path:
    """The folder of the article's server in Node, installed.

    Raises:
        Missing: It cannot be had.
    """

    def make(folder: Path) -> None:
        for name in ("package.json", "server.mjs", "lambda.mjs"):
            shutil.copy(PEERS / "node" / name, folder)
        shutil.copy(WASM, folder)
        npm_install(folder, "--ignore-scripts")

    return once("node-peer", [*files(PEERS / "node"), WASM, NODE], make)


def node_function() -> Function:
    """The article's server in Node on Lambda.

    Raises:
        Missing: It, or AWS's runtime client, cannot be had or built here.
    """
    package = PEERS / "node" / "runtime" / "package.json"

    def make(folder: Path) -> None:
        shutil.copy(package, folder)
        # npm asks before it runs a package's own build; this one is known to have one
        npm_install(folder, "--foreground-scripts")
        if not (folder / "node_modules" / "aws-lambda-ric" / "rapid-client.node").exists():
            raise Missing("npm did not build aws-lambda-ric's native part")

    client = once("node-client", [package, NODE], make)
    command = ("/var/lang/bin/node", "/var/runtime/node_modules/aws-lambda-ric/index.mjs", "lambda.handler")
    return Function(node_peer(), Runtime(node(), client, command, {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}))


def go_function() -> Function:
    """The handler in Go.

    Raises:
        Missing: Its modules cannot be had, or it does not build here.
    """

    def make(folder: Path) -> None:
        go = (find_uv(), "tool", "run", "--quiet", "--from", GO, "go")
        flags = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=lambda.norpc")
        settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        run(*go, "build", *flags, "-o", folder / "bootstrap", ".", cwd=PEERS / "go", **settings)
        shutil.copy(WASM, folder)

    task = once("go", [*files(PEERS / "go"), WASM, GO], make)
    return Function(task, Runtime(task, task, ("/var/task/bootstrap",), {"AWS_EXECUTION_ENV": "AWS_Lambda_provided"}))


def available(
    makers: Mapping[str, Callable[[], Function]], report: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Function], dict[str, str]]:
    """Makes functions, and tells those that this machine cannot have with the reason."""
    functions, missing = {}, {}
    for name, make in makers.items():
        report(name)
        try:
            functions[name] = make()
        except Missing as error:
            missing[name] = str(error)
    return functions, missing


def import_port(wasm: Path, function: str, table: str) -> Callable[..., dict[str, object]]:
    """The straightforward port's handler, in this process."""
    os.environ.update({"PLUGIN_WASM": str(wasm), "PLUGIN_FUNCTION": function, "TABLE": table})
    os.environ.setdefault("EXTISM_CACHE_CONFIG", "")
    sys.modules.pop(PORT, None)
    app = importlib.import_module(PORT)  # it reads the environment and loads the plugin at module level
    handler: Callable[..., dict[str, object]] = app.handler
    return handler


def _install(folder: Path, *packages: str) -> None:
    """Installs packages as a bundler does, at the versions that this project pins."""
    pip_install(folder, "--constraint", REQUIREMENTS, *packages, python=python())
