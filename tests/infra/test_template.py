"""template.yaml says what the code needs, and infra.template reads what it says."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cfnlint import api
from cfnlint.config import ManualArgs

from handler.memory.dynamodb import EXPIRES_AT, KEY
from handler.plugins import PLUGIN_NAME
from handler.settings import LOG_LEVELS, Settings
from infra import template
from infra.template import Template, TemplateError
from tests.cloudformation import REGION

ROOT = Path(__file__).resolve().parent.parent.parent

SDK_VARIABLES = frozenset({"AWS_ENDPOINT_URL_DYNAMODB"})
"""The variables that boto3 reads by itself."""


class Recording(dict[str, str]):
    """An environment that knows which of its variables were asked for."""

    def __init__(self, *args: Any, **kwargs: str) -> None:
        super().__init__(*args, **kwargs)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """The variables that the settings are read from."""
    environ = Recording(EXTISM_LAMBDA_TABLE="any")
    Settings.from_environ(environ)
    return environ.asked


@pytest.fixture(scope="module")
def deployed() -> Template:
    """The project's template."""
    return Template.read()


def write(folder: Path, text: str) -> Path:
    """A template file with a text."""
    path = folder / "template.yaml"
    path.write_text(text)
    return path


class TestApplication:
    """What template.yaml says."""

    def test_cfn_lint_finds_nothing(self) -> None:
        """CloudFormation's linter, which knows the schema of every resource, has no complaint."""
        found = api.lint(template.PATH.read_text(), config=ManualArgs(regions=[REGION]))
        assert [str(match) for match in found] == []

    def test_sets_only_variables_that_somebody_reads(self, deployed: Template, settings: set[str]) -> None:
        """Each environment variable is a setting or one of boto3's, so that none is set in vain."""
        assert set(deployed.environment()) <= settings | SDK_VARIABLES

    def test_declares_what_a_local_run_overrides(self, deployed: Template) -> None:
        """`sam local invoke --env-vars` sets declared variables only, so those of env.json are declared."""
        overrides = json.loads((ROOT / "infra/events/env.json").read_text())
        assert list(overrides) == [template.FUNCTION]
        assert set(overrides[template.FUNCTION]) <= set(deployed.environment())

    def test_reads_the_table_that_it_creates(self, deployed: Template) -> None:
        """The function's memory is the template's own table."""
        environment = deployed.environment()
        assert environment["EXTISM_LAMBDA_MEMORY"] == "dynamodb"
        assert environment["EXTISM_LAMBDA_TABLE"] == {"Ref": template.TABLE}

    def test_uses_the_regions_own_endpoint_by_default(self, deployed: Template) -> None:
        """The endpoint is empty unless a parameter says otherwise; botocore takes an empty one as none."""
        assert deployed.environment()["AWS_ENDPOINT_URL_DYNAMODB"] == ""

    def test_the_role_is_the_functions_only_policy(self, deployed: Template) -> None:
        """SAM adds none of its own: what the role may do is all there is, see tests/infra/test_permissions.py."""
        function = deployed.properties(template.FUNCTION)
        assert function["Role"] == {"Fn::GetAtt": [template.ROLE, "Arn"]}
        assert "Policies" not in function

    def test_the_table_has_the_codes_attributes(self, deployed: Template) -> None:
        """The partition key and the TTL attribute are those that the items are made of."""
        table = deployed.table("any")
        assert table["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
        assert table["AttributeDefinitions"] == [{"AttributeName": KEY, "AttributeType": "S"}]
        assert deployed.time_to_live_attribute() == EXPIRES_AT

    def test_the_tables_data_is_kept_safe(self, deployed: Template) -> None:
        """The table is encrypted, can be restored to a point in time, and outlives its stack."""
        table = deployed.properties(template.TABLE)
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        resource = deployed.document["Resources"][template.TABLE]
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"

    def test_every_request_reaches_the_function(self, deployed: Template) -> None:
        """The function's only event names neither path nor method, which is the route $default."""
        events = deployed.properties(template.FUNCTION)["Events"]
        assert [event["Type"] for event in events.values()] == ["HttpApi"]
        (event,) = events.values()
        assert not {"Path", "Method"} & set(event["Properties"])

    def test_parameters_are_as_strict_as_the_code(self, deployed: Template) -> None:
        """CloudFormation refuses what would make the function fail at its start."""
        parameters = deployed.document["Parameters"]
        assert parameters["DefaultPlugin"]["AllowedPattern"] == f"^{PLUGIN_NAME.pattern}$"
        assert tuple(parameters["LogLevel"]["AllowedValues"]) == LOG_LEVELS
        namespace = re.compile(parameters["MetricsNamespace"]["AllowedPattern"])
        assert namespace.match("Some/Name")
        assert namespace.match("")
        assert not namespace.match("AWS/Lambda")

    def test_answers_before_api_gateway_gives_up(self, deployed: Template) -> None:
        """The function's timeout lies below the 30 s that an HTTP API waits for an integration."""
        assert 0 < deployed.properties(template.FUNCTION)["Timeout"] < 30

    def test_every_architecture_has_its_makefile(self, deployed: Template) -> None:
        """What `sam build` runs hands the folder, and the architecture that the template asks for, to the build."""
        make = shutil.which("make")
        if make is None:
            pytest.skip("make is not installed")
        metadata = deployed.document["Resources"][template.FUNCTION]["Metadata"]
        assert metadata["WorkingDirectory"] == "."
        for architecture in deployed.document["Parameters"]["Architecture"]["AllowedValues"]:
            makefile = metadata["ContextPath"]["Fn::Sub"].replace("${Architecture}", architecture) + "/Makefile"
            dry = subprocess.run(
                [make, "--dry-run", "--makefile", makefile, f"build-{template.FUNCTION}", "ARTIFACTS_DIR=/some/folder"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert "extism-lambda build" in dry.stdout
            assert '--out "/some/folder"' in dry.stdout
            assert f'--arch "{architecture}"' in dry.stdout


class TestReading:
    """What infra.template makes of a template."""

    def test_statements_are_those_of_all_conditions(self, tmp_path: Path) -> None:
        """A policy that only some deployments have is one of the role's; what a condition makes nothing is none."""
        path = write(
            tmp_path,
            """
            Resources:
              FunctionRole:
                Properties:
                  Policies:
                    - PolicyDocument: {Statement: [{Action: a, Resource: b}]}
                    - !If [Any, {PolicyDocument: {Statement: [{Action: [c], Resource: [d]}]}}, !Ref AWS::NoValue]
            """,
        )
        expected = [{"Action": ["a"], "Resource": ["b"]}, {"Action": ["c"], "Resource": ["d"]}]
        assert Template.read(path).statements() == expected

    @pytest.mark.parametrize(
        ("short", "long"),
        [
            ("!Ref Name", {"Ref": "Name"}),
            ("!Sub '${A}-b'", {"Fn::Sub": "${A}-b"}),
            ("!GetAtt Table.Arn", {"Fn::GetAtt": ["Table", "Arn"]}),
            ("!GetAtt [Table, Arn]", {"Fn::GetAtt": ["Table", "Arn"]}),
            ("!If [Large, 1, !Ref AWS::NoValue]", {"Fn::If": ["Large", 1, {"Ref": "AWS::NoValue"}]}),
            ("!Not [!Condition Large]", {"Fn::Not": [{"Condition": "Large"}]}),
            ("!Transform { Name: AWS::Include }", {"Fn::Transform": {"Name": "AWS::Include"}}),
        ],
    )
    def test_short_tags_are_written_out(self, tmp_path: Path, short: str, long: Any) -> None:
        """A short tag reads as the long form of CloudFormation's JSON."""
        path = write(tmp_path, f"Resources: {{Thing: {{Properties: {{Value: {short}}}}}}}")
        assert Template.read(path).properties("Thing") == {"Value": long}

    def test_parameters_become_their_defaults(self, tmp_path: Path) -> None:
        """A reference to a parameter is its default; a reference to a resource, or without a default, stays."""
        path = write(
            tmp_path,
            """
            Parameters: {Size: {Type: Number, Default: 7}, Name: {Type: String}}
            Resources: {Thing: {Properties: {Values: [!Ref Size, !Ref Name, !Ref Other]}}}
            """,
        )
        assert Template.read(path).properties("Thing") == {"Values": [7, {"Ref": "Name"}, {"Ref": "Other"}]}

    def test_a_resource_that_is_not_there(self, deployed: Template) -> None:
        """The error names the resource and those that there are."""
        with pytest.raises(TemplateError, match=r"'Nothing'.*MemoryTable"):
            deployed.properties("Nothing")

    def test_a_table_property_that_local_tables_lack_is_refused(self, tmp_path: Path) -> None:
        """Local tables never differ silently from the deployed one."""
        path = write(tmp_path, "Resources: {MemoryTable: {Properties: {TableClass: STANDARD}}}")
        with pytest.raises(TemplateError, match="TableClass"):
            Template.read(path).table("any")

    def test_a_table_without_time_to_live(self, tmp_path: Path) -> None:
        """Where items do not expire there is no attribute."""
        path = write(tmp_path, "Resources: {MemoryTable: {Properties: {BillingMode: PAY_PER_REQUEST}}}")
        assert Template.read(path).time_to_live_attribute() is None

    @pytest.mark.parametrize("text", ["", "[]", "Resources: 1", "a: [", "Resources: {a: !Ref [}"])
    def test_what_is_no_template(self, tmp_path: Path, text: str) -> None:
        """The error names the file."""
        path = write(tmp_path, text)
        with pytest.raises(TemplateError, match=re.escape(str(path))):
            Template.read(path)

    def test_no_file(self, tmp_path: Path) -> None:
        """The error names the file."""
        with pytest.raises(TemplateError, match=r"template\.yaml cannot be read"):
            Template.read(tmp_path / "template.yaml")
