"""template.yaml as CloudFormation gets it: transformed by SAM's own translator, with its conditions decided."""

import functools
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from infra.building import BuildError, run
from infra.interpreters import find_uv
from infra.template import Template
from tests.lambda_parts import SAM_CLI

REGION = "eu-central-1"
ACCOUNT = "123456789012"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "extism-lambda",
    "AWS::URLSuffix": "amazonaws.com",
}

TRANSLATE = """
import contextlib, copy, json, sys
import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

asked = json.load(sys.stdin)
with contextlib.redirect_stdout(sys.stderr):
    session = boto3.Session(region_name=asked["region"])
    made = {
        name: Translator(None, Parser(), boto_session=session).translate(
            copy.deepcopy(asked["document"]), dict(parameters), get_managed_policy_map=dict
        )
        for name, parameters in asked["parameters"].items()
    }
json.dump(made, sys.stdout)
"""

COMBINATIONS: Mapping[str, Mapping[str, str]] = {
    "as it comes": {},
    "IAM": {"Authentication": "AWS_IAM", "SnapStart": "None", "Architecture": "arm64"},
    "JWT": {"Authentication": "JWT", "JwtIssuer": "https://issuer.example", "JwtAudience": "one,two"},
    "canary": {"GradualDeployment": "Canary10Percent5Minutes", "AlarmEmail": "somebody@example.com"},
    "linear, traced": {"GradualDeployment": "Linear10PercentEvery1Minute", "Tracing": "Active", "MetricsNamespace": ""},
    "browser": {"CorsOrigins": "https://a.example,https://b.example", "Stage": "prod", "Authentication": "AWS_IAM"},
    "any browser": {"CorsOrigins": "*", "ReservedConcurrency": "5", "TableDeletionProtection": "true"},
}
"""Parameters to deploy with: each authentication, gradual deployment, SnapStart, tracing and CORS on and off."""


@dataclass(frozen=True)
class Stack:
    """A transformed template and the parameters that it is deployed with."""

    template: Mapping[str, Any]
    parameters: Mapping[str, str]

    def resources(self) -> dict[str, Any]:
        """The resources that would be made, with conditions decided and parameters put in.

        References to other resources, which only a deployment resolves, stay.
        """
        return {
            name: self._resolve({key: value for key, value in resource.items() if key != "Condition"})
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.decide({"Condition": resource["Condition"]})
        }

    def properties(self, name: str) -> Any:
        """What a resource is made with."""
        return self.resources()[name].get("Properties", {})

    def outputs(self) -> dict[str, Any]:
        """The values of the outputs that there would be."""
        return {
            name: self._resolve(output["Value"])
            for name, output in self.template["Outputs"].items()
            if "Condition" not in output or self.decide({"Condition": output["Condition"]})
        }

    def parameter(self, name: str) -> Any:
        """The value of a parameter."""
        declared = self.template["Parameters"][name]
        value = self.parameters.get(name, declared["Default"])
        match declared["Type"]:
            case "CommaDelimitedList":
                return value.split(",")
            case "Number":
                return int(value)
        return str(value)

    def decide(self, condition: Any) -> bool:
        """Whether a condition holds.

        Raises:
            AssertionError: It is made with a function that is not known here.
        """
        match condition:
            case {"Condition": name}:
                return self.decide(self.template["Conditions"][name])
            case {"Fn::Equals": [one, other]}:
                return str(self._resolve(one)) == str(self._resolve(other))  # CloudFormation compares texts
            case {"Fn::Not": [one]}:
                return not self.decide(one)
        raise AssertionError(f"unknown condition: {condition}")

    def _resolve(self, value: Any) -> Any:  # noqa: PLR0911 - a case for each function of CloudFormation
        match value:
            case {"Ref": str(name)} if name in self.template["Parameters"]:
                return self.parameter(name)
            case {"Ref": str(name)} if name in PSEUDO:
                return PSEUDO[name]
            case {"Fn::If": [name, yes, no]}:
                return self._resolve(yes if self.decide({"Condition": name}) else no)
            case {"Fn::FindInMap": [name, first, second]}:
                return self.template["Mappings"][name][self._resolve(first)][self._resolve(second)]
            case {"Fn::Join": [separator, parts]} if all(isinstance(one, str) for one in self._resolve(parts)):
                return separator.join(self._resolve(parts))
            case {"Fn::Sub": [text, values]}:
                return self._substitute(text, self._resolve(values))
            case {"Fn::Sub": text}:
                return self._substitute(text, {})
            case dict():
                return {key: self._resolve(item) for key, item in value.items() if not self._is_nothing(item)}
            case list():
                return [self._resolve(item) for item in value if not self._is_nothing(item)]
        return value

    def _is_nothing(self, value: Any) -> bool:
        match value:
            case {"Ref": "AWS::NoValue"}:
                return True
            case {"Fn::If": [name, yes, no]}:
                return self._is_nothing(yes if self.decide({"Condition": name}) else no)
        return False

    def _substitute(self, text: str, values: Mapping[str, Any]) -> Any:
        """Puts parameters in; where a reference to a resource is left, it is still a Fn::Sub."""
        left: dict[str, Any] = {}
        unknown = False

        def replace(found: re.Match[str]) -> str:
            nonlocal unknown
            name = found[1]
            known = {**PSEUDO, **{one: self.parameter(one) for one in self.template["Parameters"]}, **values}
            if isinstance(known.get(name), str | int):
                return str(known[name])
            left.update({name: values[name]} if name in values else {})
            unknown = True
            return found[0]

        substituted = re.sub(r"\$\{([A-Za-z0-9:._]+)\}", replace, text)
        if not unknown:
            return substituted
        return {"Fn::Sub": [substituted, left] if left else substituted}


VARIABLE = re.compile(r"\$\{([A-Za-z0-9]+)(?:\.[A-Za-z0-9.]+)?\}")
"""A resource, or an attribute of it, in a Fn::Sub."""


def references(value: Any) -> set[str]:  # noqa: PLR0911
    """The logical names of the resources that a resolved value refers to."""
    match value:
        case {"Ref": str(name)}:
            return {name}
        case {"Fn::GetAtt": [str(name), _]}:
            return {name}
        case {"Fn::Sub": [str(text), dict(values)]}:
            return (set(VARIABLE.findall(text)) - set(values)) | references(values)
        case {"Fn::Sub": str(text)}:
            return set(VARIABLE.findall(text))
        case dict():
            return set().union(*map(references, value.values()))
        case list():
            return set().union(*map(references, value))
    return set()


def replaced(value: Any, names: Mapping[str, str]) -> Any:
    """A resolved value with names in place of references to resources, attributes included."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            return names[name]
        case {"Fn::Sub": [str(text), dict(values)]}:
            return VARIABLE.sub(lambda found: ({**names, **replaced(values, names)})[found[1]], text)
        case {"Fn::Sub": str(text)}:
            return VARIABLE.sub(lambda found: names[found[1]], text)
        case dict():
            return {key: replaced(item, names) for key, item in value.items()}
        case list():
            return [replaced(item, names) for item in value]
    return value


def translate(parameters: Mapping[str, Mapping[str, str]]) -> dict[str, Stack]:
    """The project's template as the translator makes it with each of these parameters."""
    document = json.loads(json.dumps(Template.read().document))
    # What `sam package` writes in place of the folder.
    document["Resources"]["ExtismFunction"]["Properties"]["CodeUri"] = "s3://artifacts/extism-lambda.zip"
    made = ask_sam(TRANSLATE, {"document": document, "region": REGION, "parameters": parameters})
    return {name: Stack(template, parameters[name]) for name, template in made.items()}


def ask_sam(script: str, question: Any) -> Any:
    """Runs a script in the SAM CLI's own Python, with JSON on its stdin and stdout.

    Skips the test where the SAM CLI cannot be had; in CI that is a failure.
    """
    try:
        python = (find_uv(), "tool", "run", "--quiet", "--from", SAM_CLI, "python")
        run("finding the SAM CLI", *python, "-c", "import samcli, samtranslator")
    except BuildError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the SAM CLI cannot be had: {error}")
    done = subprocess.run(
        [*map(str, python), "-c", script],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@functools.cache
def stacks() -> Mapping[str, Stack]:
    """All combinations, transformed once."""
    return translate(COMBINATIONS)
