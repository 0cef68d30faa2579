"""What the deployed stack may do, and who may use it: each permission is narrow, or listed here with a reason."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.template import FUNCTION, TABLE
from tests.cloudformation import COMBINATIONS, references, stacks

WILDCARDS = {
    ("xray:PutTraceSegments", "*"): "X-Ray knows no resources for its writes (Service Authorization Reference)",
    ("xray:PutTelemetryRecords", "*"): "X-Ray knows no resources for its writes (Service Authorization Reference)",
}
"""Statements that name no resource."""

MANAGED = {
    "arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited": (
        "what CodeDeploy asks for changes, and AWS keeps this up with it; only CodeDeploy can take the role on, and "
        "only stacks with a gradual deployment have it"
    ),
}
"""Policies that AWS writes."""

PRINCIPALS = {
    "FunctionRole": "lambda.amazonaws.com",
    "DeploymentRole": "codedeploy.amazonaws.com",
    f"{FUNCTION}EveryRequestPermission": "apigateway.amazonaws.com",
}
"""Who may use what."""

DYNAMODB = frozenset({"dynamodb:GetItem", "dynamodb:BatchGetItem"})


def resources_of(name: str, *types: str) -> dict[str, Any]:
    """A combination's resources of some types."""
    return {key: one for key, one in stacks()[name].resources().items() if one["Type"] in types}


def statements(name: str) -> Iterator[dict[str, Any]]:
    """All statements of all roles, with actions and resources as lists."""
    for role in resources_of(name, "AWS::IAM::Role").values():
        for policy in role["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield statement | {key: as_list(statement[key]) for key in ("Action", "Resource")}


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else in a list of its own."""
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_kind_of_policy_is_looked_at(name: str) -> None:
    """No resource grants anything in a way that these tests do not see."""
    known = {"AWS::IAM::Role", "AWS::Lambda::Permission"}
    granting = {one["Type"] for one in stacks()[name].resources().values() if grants(one)}
    assert granting <= known


def grants(resource: Any) -> bool:
    """Whether a resource is of IAM, is a permission, or holds a policy document."""
    return (
        resource["Type"].startswith("AWS::IAM::")
        or resource["Type"].endswith(("Permission", "Policy"))
        or any("PolicyDocument" in key for key in resource.get("Properties", {}))
    )


@pytest.mark.parametrize("name", COMBINATIONS)
def test_actions_are_named(name: str) -> None:
    """Each statement allows, and names service and action; none says what is not meant."""
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
        assert not [action for action in statement["Action"] if "*" in action or "?" in action]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_resources_are_the_stacks_own(name: str) -> None:
    """Each statement is about a resource of the stack, but for those listed above."""
    own = set(stacks()[name].resources())
    for statement in statements(name):
        for action in statement["Action"]:
            for resource in statement["Resource"]:
                assert (action, str(resource)) in WILDCARDS or references(resource) & own, statement


@pytest.mark.parametrize("name", COMBINATIONS)
def test_of_dynamodb_only_reads_of_granted_keys(name: str) -> None:
    """One statement, on the table alone, with a condition on the keys."""
    (statement,) = (one for one in statements(name) if any(action.startswith("dynamodb:") for action in one["Action"]))
    assert set(statement["Action"]) == DYNAMODB
    assert statement["Resource"] == [{"Fn::GetAtt": [TABLE, "Arn"]}]
    assert set(statement["Condition"]) == {"ForAllValues:StringLike", "Null"}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_policies_of_aws_are_listed(name: str) -> None:
    """Nobody reads a managed policy, so each has its reason above."""
    used = {
        arn
        for role in resources_of(name, "AWS::IAM::Role").values()
        for arn in role["Properties"].get("ManagedPolicyArns", [])
    }
    assert used <= set(MANAGED)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_only_the_service_that_needs_it_may_use_it(name: str) -> None:
    """Roles are taken on by one service each, and the alias is invoked by this API."""
    for key, role in resources_of(name, "AWS::IAM::Role").items():
        (statement,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": PRINCIPALS[key]}
        assert statement["Action"] == "sts:AssumeRole"
    for key, permission in resources_of(name, "AWS::Lambda::Permission").items():
        assert permission["Properties"]["Principal"] == PRINCIPALS[key]
        assert references(permission["Properties"]["SourceArn"]) == {"HttpApi"}


def test_each_exception_is_used() -> None:
    """What no combination needs any more does not stay on the lists."""
    used = {
        (action, str(resource))
        for name in COMBINATIONS
        for one in statements(name)
        for action in one["Action"]
        for resource in one["Resource"]
    }
    managed = {
        arn
        for name in COMBINATIONS
        for role in resources_of(name, "AWS::IAM::Role").values()
        for arn in role["Properties"].get("ManagedPolicyArns", [])
    }
    assert set(WILDCARDS) <= used
    assert managed == set(MANAGED)
