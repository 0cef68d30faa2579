"""What template.yaml deploys, made in moto, and the handler on top of it.

moto's CloudFormation knows no API of version 2, no alias, no CodeDeploy, no alarm and no dashboard. The alarms and the
dashboard are made by API calls with the very properties of the template, so that botocore checks their names and types;
the rest is left to tests/infra/test_transformed.py and its linter.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from handler.composition import create_handler
from handler.deadline import Deadline
from handler.memory.dynamodb import EXPIRES_AT, KEY, DynamoDBStore
from infra.items import read_items
from infra.local import LocalContext
from infra.local_dynamodb import SEED
from infra.template import FUNCTION, TABLE
from tests.cloudformation import REGION, Stack, references, replaced, stacks

ROOT = Path(__file__).resolve().parent.parent.parent

BY_CALLS = frozenset({"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"})
"""What moto has, but not by way of CloudFormation."""
UNKNOWN_TO_MOTO = ("AWS::ApiGatewayV2::", "AWS::CodeDeploy::", "AWS::Lambda::Alias")

MADE = frozenset(
    {
        "AlarmTopic",
        "DeploymentRole",
        FUNCTION,
        "FunctionLogs",
        "FunctionRole",
        "HttpApiLogs",
        TABLE,
    }
)
"""The resources that CloudFormation makes here, beside the version, whose name is a hash."""


def client(service: str) -> Any:
    """A client of the deployment's region; any service, so it has no type."""
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


class Deployment:
    """A stack in moto.

    Attributes:
        stack: What was deployed.
        names: The physical names of the resources by their logical ones; those of what moto cannot make are made up.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        resources = stack.resources()
        left_out = {name for name, one in resources.items() if one["Type"].startswith((*UNKNOWN_TO_MOTO, *BY_CALLS))}
        left_out |= {name for name, one in resources.items() if references(one) & left_out}
        made = {name: one for name, one in resources.items() if name not in left_out}
        _upload("artifacts", "extism-lambda.zip")
        client("cloudformation").create_stack(
            StackName="extism-lambda", TemplateBody=json.dumps({"Resources": made}), Capabilities=["CAPABILITY_IAM"]
        )
        described = client("cloudformation").describe_stack_resources(StackName="extism-lambda")["StackResources"]
        self.made = {one["LogicalResourceId"] for one in described}
        self.names = {name: f"a-{name}" for name in left_out} | {
            one["LogicalResourceId"]: one.get("PhysicalResourceId", "")  # moto gives versions none
            for one in described
        }
        self._finish_table(resources[TABLE]["Properties"])
        for name, one in resources.items():
            if one["Type"] == "AWS::CloudWatch::Alarm":
                client("cloudwatch").put_metric_alarm(AlarmName=name, **replaced(one["Properties"], self.names))
            elif one["Type"] == "AWS::CloudWatch::Dashboard":
                client("cloudwatch").put_dashboard(**replaced(one["Properties"], self.names))

    def _finish_table(self, properties: Mapping[str, Any]) -> None:
        """Does what moto's CloudFormation passes over."""
        dynamodb = client("dynamodb")
        for call, property_ in (
            (dynamodb.update_time_to_live, "TimeToLiveSpecification"),
            (dynamodb.update_continuous_backups, "PointInTimeRecoverySpecification"),
        ):
            call(TableName=self.names[TABLE], **{property_: properties[property_]})


def _upload(bucket: str, key: str) -> None:
    """Puts an artifact where the function's code is: moto looks, and runs nothing."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("handler/main.py", "")
    s3 = client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=bucket, Key=key, Body=archive.getvalue())


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The stack with gradual deployment and an address for its alarms."""
    stack = stacks()["canary"]
    with mock_aws():
        yield Deployment(stack)


def test_cloudformation_makes_the_resources(deployment: Deployment) -> None:
    """Everything that moto's CloudFormation knows is there."""
    assert {name for name in deployment.made if not name.startswith(f"{FUNCTION}Version")} == MADE
    assert any(name.startswith(f"{FUNCTION}Version") for name in deployment.made)


def test_the_table_is_what_the_handler_reads(deployment: Deployment) -> None:
    """Key, TTL attribute, point-in-time recovery and billing are those that the README promises.

    moto's CloudFormation makes no table encrypted; tests/infra/test_template.py reads that in the template.
    """
    dynamodb = client("dynamodb")
    name = {"TableName": deployment.names[TABLE]}
    table = dynamodb.describe_table(**name)["Table"]
    assert table["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": KEY, "AttributeType": "S"}]
    assert table["BillingModeSummary"] == {"BillingMode": "PAY_PER_REQUEST"}
    assert dynamodb.describe_time_to_live(**name)["TimeToLiveDescription"] == {
        "AttributeName": EXPIRES_AT,
        "TimeToLiveStatus": "ENABLED",
    }
    backups = dynamodb.describe_continuous_backups(**name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_the_handler_answers_from_the_deployed_table(deployment: Deployment) -> None:
    """With the environment variables that the deployed function has, and the seed data in the deployed table."""
    for item in read_items(SEED):
        client("dynamodb").put_item(TableName=deployment.names[TABLE], Item=item.to_attributes())
    configuration = client("lambda").get_function_configuration(FunctionName=deployment.names[FUNCTION])
    environment = configuration["Environment"]["Variables"]
    assert environment["EXTISM_LAMBDA_TABLE"] == deployment.names[TABLE]
    environment |= {"EXTISM_LAMBDA_PLUGINS": str(ROOT / "plugins"), "AWS_REGION": REGION}
    environment |= {"EXTISM_LAMBDA_DEFAULT_PLUGIN": "lookup"}  # compiles in no time

    handler = create_handler(environment)
    try:
        answer = handler({"plugin": "lookup", "input": "message"}, LocalContext(configuration["Timeout"]))
    finally:
        handler.close()

    assert (answer["status"], answer.get("output")) == (200, "I 💜 Extism 😍")


def test_the_probe_of_readyz_reads_the_deployed_table(deployment: Deployment) -> None:
    """The key that /readyz asks for need not be there."""
    DynamoDBStore(client("dynamodb"), deployment.names[TABLE]).check(Deadline.after(10))


def test_the_function_is_made_as_the_parameters_say(deployment: Deployment) -> None:
    """Runtime, handler, memory, timeout and architecture reach Lambda."""
    made = client("lambda").get_function_configuration(FunctionName=deployment.names[FUNCTION])
    assert (made["Runtime"], made["Handler"]) == ("python3.13", "handler.main.handler")
    assert (made["MemorySize"], made["Timeout"], made["Architectures"]) == (1769, 10, ["x86_64"])


def test_logs_do_not_pile_up(deployment: Deployment) -> None:
    """Both log groups have the retention that the parameter asks for."""
    groups = client("logs").describe_log_groups()["logGroups"]
    retention = {group["logGroupName"]: group["retentionInDays"] for group in groups}
    assert retention == {deployment.names["FunctionLogs"]: 30, deployment.names["HttpApiLogs"]: 30}


def test_every_alarm_mails(deployment: Deployment) -> None:
    """All alarms tell the topic, which has the address, when they go off and when it is over."""
    alarms = client("cloudwatch").describe_alarms()["MetricAlarms"]
    topic = deployment.names["AlarmTopic"]
    wanted = {name for name, one in deployment.stack.resources().items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assert {alarm["AlarmName"] for alarm in alarms} == wanted
    for alarm in alarms:
        assert (alarm["AlarmActions"], alarm["OKActions"]) == ([topic], [topic])
        assert alarm["TreatMissingData"] == "notBreaching"
    subscriptions = client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [(one["Protocol"], one["Endpoint"]) for one in subscriptions] == [("email", "somebody@example.com")]


def test_the_dashboard_is_taken(deployment: Deployment) -> None:
    """CloudWatch has it under the stack's name, with every reference resolved."""
    (entry,) = client("cloudwatch").list_dashboards()["DashboardEntries"]
    assert entry["DashboardName"] == f"extism-lambda-{REGION}"
    body = client("cloudwatch").get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
    assert "${" not in body
    assert deployment.names[TABLE] in body
