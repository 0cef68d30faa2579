"""What SAM's translator makes of template.yaml, with the parameters that a user may choose."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cfnlint import api
from cfnlint.config import ManualArgs
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from handler.json_lines import UNITS
from infra.template import FUNCTION, Template
from tests.cloudformation import COMBINATIONS, REGION, Stack, references, stacks, translate

ON_PURPOSE = {
    "W1001": "DeploymentRole is there whenever CodeDeploy is: both hang on GradualDeployment",
    "W3011": "a version outlives its replacement; SAM hands that on to alias and permission, which are never replaced",
    "W7001": "SAM has looked up the mapping Gradual by then",
}
"""What cfn-lint says about the transformed template, and why it stays."""

ALIAS = f"{FUNCTION}Aliaslive"
METRICS = "EXTISM_LAMBDA_METRICS"


def version_of(stack: Stack) -> tuple[str, Any]:
    """The logical name of the function's version, and its description: either one's change publishes a new one."""
    resources = stack.resources()
    (name,) = (name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Version")
    return name, resources[name]["Properties"]["Description"]


def names_in(value: Any) -> Iterator[str]:
    """All parameters, conditions and mappings that a value speaks of, by their names."""
    match value:
        case {"Ref": str(name)} | {"Condition": str(name)}:
            yield name
        case {"Fn::If": [str(name), *rest]}:
            yield name
            yield from names_in(rest)
        case {"Fn::Sub": _}:
            yield from references(value)
        case dict():
            for item in value.values():
                yield from names_in(item)
        case list():
            for item in value:
                yield from names_in(item)


class TestEveryCombination:
    """Whatever is chosen."""

    def test_cfn_lint_finds_nothing(self) -> None:
        """The linter looks at all conditions by itself, so that each different template is looked at once."""
        different = {json.dumps(stack.template, sort_keys=True) for stack in stacks().values()}
        assert len(different) == 3  # no gradual deployment, and two kinds of it
        for text in sorted(different):
            found = api.lint(text, config=ManualArgs(regions=[REGION]))
            assert not [str(match) for match in found if match.rule.id not in ON_PURPOSE]

    @pytest.mark.parametrize("name", COMBINATIONS)
    def test_nothing_refers_to_what_is_not_made(self, name: str) -> None:
        """A resource that a condition leaves out is nobody's reference, neither a resource's nor an output's."""
        stack = stacks()[name]
        resources = stack.resources()
        for referrer in (*resources.values(), stack.outputs()):
            assert references(referrer) <= set(resources)

    @pytest.mark.parametrize("name", COMBINATIONS)
    def test_the_api_calls_the_alias(self, name: str) -> None:
        """Never the unpublished version: every integration is with the alias, and only it may be invoked."""
        resources = stacks()[name].resources()
        integrations = [
            method["x-amazon-apigateway-integration"]["uri"]
            for path in resources["HttpApi"]["Properties"]["Body"]["paths"].values()
            for method in path.values()
        ]
        assert integrations
        assert all(references(uri) & set(resources) == {ALIAS} or ALIAS in json.dumps(uri) for uri in integrations)
        permissions = [one for one in resources.values() if one["Type"] == "AWS::Lambda::Permission"]
        assert [one["Properties"]["FunctionName"] for one in permissions] == [{"Ref": ALIAS}]

    @pytest.mark.parametrize("name", COMBINATIONS)
    def test_the_dashboard_shows_metrics_that_there_are(self, name: str) -> None:
        """Its body is JSON, no two widgets overlap, and the handler's own metrics have the handler's names."""
        body = stacks()[name].properties("Dashboard")["DashboardBody"]["Fn::Sub"]
        widgets = json.loads(body if isinstance(body, str) else body[0])["widgets"]
        places = [(x, y) for one in widgets for x in range(one["x"], one["x"] + one["width"]) for y in [one["y"]]]
        assert len(places) == len(set(places))
        assert max(x for x, _ in places) < 24
        metrics = [metric for one in widgets for metric in one["properties"].get("metrics", [])]
        own = {metric[1] for metric in metrics if not metric[0].startswith("AWS/")}
        assert own
        assert own <= set(UNITS)
        for metric in metrics:
            assert metric[0].startswith("AWS/") or metric[2] == "functionName"
            assert len([part for part in metric[2:] if isinstance(part, str)]) % 2 == 0


class TestAlarms:
    """What goes off."""

    def test_failures_are_the_handlers_own_count(self) -> None:
        """The alarm looks at a metric that the handler writes, by the very dimensions that it writes it with."""
        alarm = stacks()["as it comes"].properties("FailuresAlarm")
        assert alarm["MetricName"] in UNITS
        assert alarm["Namespace"] == stacks()["as it comes"].properties(FUNCTION)["Environment"]["Variables"][METRICS]
        assert alarm["Dimensions"] == [{"Name": "functionName", "Value": {"Ref": FUNCTION}}]

    def test_without_metrics_nobody_waits_for_them(self) -> None:
        """No alarm on metrics that the function does not write."""
        assert "FailuresAlarm" not in stacks()["linear, traced"].resources()
        assert stacks()["linear, traced"].properties(FUNCTION)["Environment"]["Variables"][METRICS] == ""

    @pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
    def test_lambda_lets_metrics_through(self, level: str) -> None:
        """The handler writes them at INFO; Lambda, which filters too, must not ask for more at any LogLevel."""
        stack = Stack(stacks()["as it comes"].template, {"LogLevel": level})
        assert stack.properties(FUNCTION)["LoggingConfig"]["ApplicationLogLevel"] in ("DEBUG", "INFO")


class TestAuthentication:
    """Who may call."""

    def security(self, name: str) -> tuple[Any, Any]:
        """What the API's route asks for, and the schemes that it declares."""
        body = stacks()[name].properties("HttpApi")["Body"]
        route = body["paths"]["$default"]["x-amazon-apigateway-any-method"]
        return route.get("security"), body.get("components", {}).get("securitySchemes")

    def test_none_is_told_loudly(self) -> None:
        """Nothing is asked for, and the stack's outputs say what that means."""
        assert self.security("as it comes") == (None, None)
        assert "whole internet" in stacks()["as it comes"].outputs()["Warning"]

    def test_iam(self) -> None:
        """Requests have to be signed."""
        asked, schemes = self.security("IAM")
        assert asked == [{"AWS_IAM": []}]
        assert schemes["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"
        assert "Warning" not in stacks()["IAM"].outputs()

    def test_jwt(self) -> None:
        """Requests have to bring a token of the issuer for one of the audiences."""
        asked, schemes = self.security("JWT")
        assert asked == [{"JWT": []}]
        assert schemes["JWT"]["x-amazon-apigateway-authorizer"] == {
            "type": "jwt",
            "identitySource": "$request.header.Authorization",
            "jwtConfiguration": {"issuer": "https://issuer.example", "audience": ["one", "two"]},
        }

    def test_other_sites_pages_are_refused_by_default(self) -> None:
        """Without origins the API has no CORS headers, and no route but $default."""
        body = stacks()["as it comes"].properties("HttpApi")["Body"]
        assert "x-amazon-apigateway-cors" not in body
        assert set(body["paths"]) == {"$default"}

    def test_browsers_of_allowed_origins(self) -> None:
        """A preflight request, which has no signature, finds routes that ask for none; all others are still refused."""
        body = stacks()["browser"].properties("HttpApi")["Body"]
        assert body["x-amazon-apigateway-cors"]["allowOrigins"] == ["https://a.example", "https://b.example"]
        assert "allowCredentials" not in body["x-amazon-apigateway-cors"]
        for path in ("/", "/{proxy+}"):
            assert set(body["paths"][path]) == {"options"}
            assert "security" not in body["paths"][path]["options"]
        assert self.security("browser")[0] == [{"AWS_IAM": []}]
        assert stacks()["any browser"].properties("HttpApi")["Body"]["x-amazon-apigateway-cors"]["allowOrigins"] == [
            "*"
        ]


class TestFunction:
    """How the function runs, and how a new version of it comes to be called."""

    def test_snapstart(self) -> None:
        """For published versions, which are what the alias and so the API calls; or off."""
        assert stacks()["as it comes"].properties(FUNCTION)["SnapStart"] == {"ApplyOn": "PublishedVersions"}
        assert stacks()["IAM"].properties(FUNCTION)["SnapStart"] == {"ApplyOn": "None"}

    def test_tracing(self) -> None:
        """With X-Ray the role may write traces, which Lambda checks when the function is made; without it may not."""
        for name, mode, allowed in (("linear, traced", "Active", True), ("as it comes", "PassThrough", False)):
            assert stacks()[name].properties(FUNCTION)["TracingConfig"] == {"Mode": mode}
            policies = stacks()[name].properties("FunctionRole")["Policies"]
            assert ("write-traces" in {policy["PolicyName"] for policy in policies}) is allowed

    def test_concurrency(self) -> None:
        """Reserved only where the parameter says so."""
        assert "ReservedConcurrentExecutions" not in stacks()["as it comes"].properties(FUNCTION)
        assert stacks()["any browser"].properties(FUNCTION)["ReservedConcurrentExecutions"] == 5

    def test_all_at_once_needs_no_codedeploy(self) -> None:
        """Neither an application nor a role for it is made."""
        types = {one["Type"] for one in stacks()["as it comes"].resources().values()}
        assert not [one for one in types if one.startswith("AWS::CodeDeploy")]
        assert "DeploymentRole" not in stacks()["as it comes"].resources()

    @pytest.mark.parametrize(
        ("name", "alarms"),
        [("canary", ["ErrorsAlarm", "FailuresAlarm"]), ("linear, traced", ["ErrorsAlarm"])],
    )
    def test_a_gradual_deployment_goes_back_on_alarms(self, name: str, alarms: list[str]) -> None:
        """The alias is moved by CodeDeploy, which watches the alarms that there are with these parameters."""
        stack = stacks()[name]
        group = stack.properties(f"{FUNCTION}DeploymentGroup")
        assert group["AlarmConfiguration"] == {"Enabled": True, "Alarms": [{"Name": {"Ref": one}} for one in alarms]}
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
        assert group["ServiceRoleArn"] == {"Fn::GetAtt": ["DeploymentRole", "Arn"]}
        assert "CodeDeployLambdaAliasUpdate" in stack.resources()[ALIAS]["UpdatePolicy"]

    def test_alarms_of_a_rollback_do_not_need_the_alias(self) -> None:
        """CodeDeploy's alarms come before the alias; one that referred to the API would make a circle."""
        resources = stacks()["canary"].resources()
        reached = {"ErrorsAlarm", "FailuresAlarm"}
        while more := set().union(*(references(resources[one]) for one in reached)) - reached:
            reached |= more
        assert not reached & {ALIAS, "HttpApi"}


class TestVersions:
    """A parameter that changes the function has to reach the alias: SAM's own hash passes over parameters' values."""

    def test_each_parameter_of_the_function_publishes_a_version(self) -> None:
        """Each parameter that the function's properties depend on is in the version's description, and no other one.

        One that does not change the function must not be there: Lambda publishes no second version of the same thing.
        """
        document = Template.read().document
        properties = dict(document["Resources"][FUNCTION]["Properties"])
        described = set(references(properties.pop("VersionDescription")))
        for not_of_the_version in ("ReservedConcurrentExecutions", "DeploymentPreference", "Events"):
            properties.pop(not_of_the_version)
        names, seen = set(names_in(properties)), set[str]()
        while names - seen:
            one = (names - seen).pop()
            seen.add(one)
            names |= set(names_in(document["Conditions"].get(one, {})))
        assert described == names & set(document["Parameters"])

    def test_cloudformation_replaces_a_version_whose_description_changes(self) -> None:
        """By the resource's own schema, as CloudFormation publishes it and cfn-lint ships it."""
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, "AWS::Lambda::Version").schema
        assert "/properties/Description" in schema["createOnlyProperties"]

    def test_another_value_makes_another_version(self) -> None:
        """The version's name or its description, whose change CloudFormation answers with a new version, differs."""
        changes = {"": {}, "LogLevel": {"LogLevel": "DEBUG"}, "SnapStart": {"SnapStart": "None"}}
        versions = [version_of(stack) for stack in translate(changes).values()]
        assert len({json.dumps(one) for one in versions}) == len(changes)

    def test_the_longest_description_fits(self) -> None:
        """Lambda takes 256 characters (Lambda API Reference, PublishVersion)."""
        parameters = Template.read().document["Parameters"]
        longest = {"DefaultPlugin": 64, "MemorySize": 5, "MetricsNamespace": 32, "DynamoDBEndpoint": 90}
        text = Template.read().document["Resources"][FUNCTION]["Properties"]["VersionDescription"]["Fn::Sub"]
        size = len(text)
        for name in references({"Fn::Sub": text}):
            choices = parameters[name].get("AllowedValues")
            size += (max(map(len, choices)) if choices else longest[name]) - len(f"${{{name}}}")
        assert size <= 256

    def test_old_versions_stay(self) -> None:
        """They are what is rolled back to."""
        resources = stacks()["as it comes"].template["Resources"]
        (version,) = (one for one in resources.values() if one["Type"] == "AWS::Lambda::Version")
        assert (version["DeletionPolicy"], version["UpdateReplacePolicy"]) == ("Retain", "Retain")
