"""The pages say what is so: links lead somewhere, commands and options exist, tables and queries name what there is."""

import importlib.util
import json
import re
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
import typer
from botocore import xform_name

from handler.errors import InvocationError, StoreThrottled
from handler.json_lines import JsonTelemetry
from handler.telemetry import RequestRecord
from infra.cli import app
from infra.template import Template
from tests.cloudformation import ask_sam, stacks
from tests.documents import ROOT, pages

PAGES = pages()

AWS_COMMANDS = {"deploy": "codedeploy"}
"""Services that the AWS CLI calls otherwise than botocore does."""

OTHER_PROGRAMS = frozenset({"cat", "cp", "curl", "mkdir", "pip", "sha256sum", "uv"})
"""What else a reader is told to type; curl's requests are made by .ci/first-minutes."""

INSIGHTS = frozenset(
    [
        *("and", "as", "asc", "avg", "bin", "by", "count", "desc", "fields", "filter", "ispresent", "limit", "max"),
        *("not", "pct", "sort", "stats", "sum"),
    ]
)
"""Words of the query language (CloudWatch Logs Insights language query syntax)."""

LAMBDA_FIELDS = frozenset(
    {
        "@timestamp",
        "type",
        "record.metrics.initDurationMs",
        "record.metrics.maxMemoryUsedMB",
    }
)
"""Fields of Logs Insights itself and of Lambda's platform.report (Lambda Telemetry API schema reference)."""

SAM_OPTIONS = """
import json, sys
import click
from samcli.cli.main import cli

found = {}
for path in json.load(sys.stdin):
    command = cli
    for name in path:
        # SAM loads commands only under a context that has something in it.
        command = command.get_command(click.Context(command, obj=path), name) if command else None
    if command:
        found[" ".join(path)] = [option for one in command.params for option in (*one.opts, *one.secondary_opts)]
json.dump(found, sys.stdout)
"""


def words_of(program: str) -> list[tuple[str, list[str]]]:
    """The commands of a program, each with its page."""
    return [(name, words) for name, page in PAGES.items() for words in page.commands() if words[0] == program]


def options_in(words: list[str]) -> list[str]:
    """The options among words."""
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


class TestLinks:
    """Where links lead."""

    @pytest.mark.parametrize("name", PAGES)
    def test_links_lead_to_files_and_headings(self, name: str) -> None:
        """What is no address on the web is a file of the project, with the heading that is asked for."""
        page = PAGES[name]
        for link in page.links():
            target = urlsplit(link)
            if target.scheme:
                assert target.scheme == "https", link
                continue
            path = (page.path.parent / target.path).resolve() if target.path else page.path
            assert path.exists(), link
            if target.fragment:
                other = PAGES[path.relative_to(ROOT).as_posix()]
                assert target.fragment in other.anchors(), link

    def test_every_page_can_be_found_from_the_readme(self) -> None:
        """README.md links to all of them."""
        links = PAGES["README.md"].links()
        assert {name for name in PAGES if name.startswith("infra/")} <= {link.partition("#")[0] for link in links}


class TestCommands:
    """What a reader is told to type."""

    def test_every_program_is_known(self) -> None:
        """No program escapes these tests."""
        known = OTHER_PROGRAMS | {"aws", "extism-lambda", "sam"}
        assert {words[0] for page in PAGES.values() for words in page.commands()} <= known

    def test_the_command_line_has_them(self) -> None:
        """Each `extism-lambda` command exists, with each of its options."""
        seen = 0
        for name, words in [*words_of("uv"), *words_of("extism-lambda")]:
            if "extism-lambda" not in words[:3]:
                continue
            seen += 1
            command: Any = typer.main.get_command(app)
            rest = words[words.index("extism-lambda") + 1 :]
            while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
                assert rest[0] in command.commands, (name, words)
                command = command.commands[rest.pop(0)]
            options = {option for one in command.params for option in one.opts} | {"--help"}
            assert set(options_in(rest)) <= options, (name, words)
        assert seen > 10

    def test_modules_can_be_run(self) -> None:
        """`python -m` names a module that there is."""
        modules = [words[words.index("-m") + 1] for _, words in words_of("uv") if "-m" in words]
        assert modules
        assert not [module for module in modules if importlib.util.find_spec(module) is None]

    def test_sam_has_them(self) -> None:
        """Each `sam` command of the pinned SAM CLI exists, with each of its options."""
        commands = []
        for name, words in words_of("sam"):
            path = words[1:3] if words[1] in ("list", "local") else words[1:2]
            commands.append((name, path, options_in(words[1:])))
        options = ask_sam(SAM_OPTIONS, [path for _, path, _ in commands])
        for name, path, used in commands:
            assert set(used) <= set(options[" ".join(path)]), (name, path)

    def test_aws_has_them(self) -> None:
        """Each `aws` command is an operation of the service, and each option one of its parameters."""
        session = botocore.session.get_session()
        commands = words_of("aws")
        assert commands
        for name, (_, service, operation, *rest) in commands:
            model = session.get_service_model(AWS_COMMANDS.get(service, service))
            operations = {xform_name(one, "-"): one for one in model.operation_names}
            assert operation in operations, (name, service, operation)
            shape = model.operation_model(operations[operation]).input_shape
            assert shape is not None
            allowed = {f"--{xform_name(one, '-')}" for one in shape.members}
            allowed |= {f"--no-{option[2:]}" for option in allowed}  # how the AWS CLI spells false
            assert set(options_in(rest)) <= allowed, (name, service, operation)

    def test_parameters_are_the_templates(self) -> None:
        """What is written NAME=VALUE, in a command or in prose, is a parameter with a value that it allows."""
        parameters = Template.read().document["Parameters"]
        seen = 0
        for page in PAGES.values():
            for parameter, value in re.findall(r"[` ]([A-Z][A-Za-z]+)=([A-Za-z0-9_.-]*)", page.text):
                if parameter in ("NAME",) or parameter.isupper():
                    continue
                assert parameter in parameters, (page.path, parameter)
                assert value in map(str, parameters[parameter].get("AllowedValues", [value])), (parameter, value)
                seen += 1
        assert seen > 5


class TestTables:
    """What tables list."""

    def test_deploy_lists_every_parameter(self) -> None:
        """All of them, and no other."""
        section = PAGES["infra/docs/deploy.md"].text.split("## Parameters")[1].split("\n## ")[0]
        listed = [name for row in re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE) for name in row.split(", ")]
        assert sorted(name.strip("`") for name in listed) == sorted(Template.read().document["Parameters"])

    def test_deploy_lists_the_defaults(self) -> None:
        """As the template has them."""
        text = PAGES["infra/docs/deploy.md"].text.split("## Parameters")[1]
        for name, parameter in Template.read().document["Parameters"].items():
            found = re.search(rf"^\| .*`{name}`.*? \|(.*?)\|", text, re.MULTILINE)
            assert found is not None
            if "," not in found[0].split("|")[1]:
                assert found[1].strip().strip("`") == str(parameter["Default"]), name

    @pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("infra/")])
    def test_statuses_are_those_of_the_errors(self, name: str) -> None:
        """Where a page says a status and a problem's type, the code has that type with that status."""
        statuses = {error.type: error.status for error in _errors(InvocationError)}
        for status, type_ in re.findall(r"(\d{3}) `([a-z]+-[a-z-]+)`", PAGES[name].text):
            assert statuses.get(type_) == int(status), (name, type_)

    def test_limits_names_statuses(self) -> None:
        """The test above has something to look at."""
        assert len(re.findall(r"\d{3} `[a-z]+-", PAGES["infra/docs/limits.md"].text)) > 5

    def test_operate_lists_every_alarm(self) -> None:
        """All of them, and no other."""
        alarms = {name for name, one in stacks()["canary"].resources().items() if one["Type"].endswith("::Alarm")}
        rows = re.findall(r"^\| `(\w+Alarm)` \|", PAGES["infra/docs/operate.md"].text, re.MULTILINE)
        assert sorted(rows) == sorted(alarms)


class TestQueries:
    """Logs Insights queries."""

    def test_they_ask_for_fields_that_are_written(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each name is a word of the language, or a field of the function's, Lambda's or the API's log."""
        known = INSIGHTS | LAMBDA_FIELDS | _fields_of_the_handler(capsys) | _fields_of_the_api()
        queries = PAGES["infra/docs/operate.md"].blocks("logs-insights")
        assert queries
        for query in queries:
            without_texts = re.sub(r'"[^"]*"', "", query)
            named = set(re.findall(r" as (\w+)", without_texts))
            names = set(re.findall(r"@?[A-Za-z][A-Za-z0-9.]*", re.sub(r"\b\d+m\b", "", without_texts)))
            assert names <= known | named, query


def _errors(root: type[InvocationError]) -> list[type[InvocationError]]:
    """A class and all that derive from it."""
    return [root, *(one for child in root.__subclasses__() for one in _errors(child))]


def _fields_of_the_handler(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Those of a call's line, of a failure's and of a guest's, as the handler writes them."""
    telemetry = JsonTelemetry("any", "any", 0)
    record = RequestRecord(plugin="any", function="any", guest_lines=1)
    telemetry.guest_said(record, 40, "any")
    telemetry.finished(record)
    telemetry.failed(RequestRecord(plugin="any", function="any"), StoreThrottled("any"))
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {field for line in lines for field in line} | {"causes.0"}


def _fields_of_the_api() -> set[str]:
    """Those of the API's access log."""
    log_format = Template.read().properties("HttpApi")["AccessLogSettings"]["Format"]
    return set(json.loads(log_format))
