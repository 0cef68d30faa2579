"""Reads template.yaml, so that what runs locally is what gets deployed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import yaml

from infra.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import CreateTableInputTypeDef

PATH = Path(__file__).resolve().parent.parent / "template.yaml"
FUNCTION = "ExtismFunction"
ROLE = "FunctionRole"
TABLE = "MemoryTable"

SAME_IN_THE_API = frozenset(
    {
        "AttributeDefinitions",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "KeySchema",
        "LocalSecondaryIndexes",
        "ProvisionedThroughput",
        "StreamSpecification",
    }
)
"""Properties of AWS::DynamoDB::Table that CreateTable takes as they are."""

DEPLOYMENT_ONLY = frozenset(
    {"DeletionProtectionEnabled", "PointInTimeRecoverySpecification", "TableName", "Tags", "TimeToLiveSpecification"}
)
"""Properties that CreateTable has no parameter for, or that mean nothing to a table that goes with its process."""


class TemplateError(CommandError):
    """The template is not what the local tools expect."""


class Loader(yaml.SafeLoader):
    """Reads YAML with CloudFormation's short tags: `!Ref x` is {"Ref": "x"}, `!Sub x` is {"Fn::Sub": "x"}."""


def _construct_tag(loader: Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(cast("yaml.MappingNode", node), deep=True)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


Loader.add_multi_constructor("!", _construct_tag)


@dataclass(frozen=True, slots=True)
class Template:
    """A template.

    Attributes:
        document: The template with short tags written out, as in CloudFormation's JSON.
    """

    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path = PATH) -> Self:
        """Reads a template file.

        Raises:
            TemplateError: It cannot be read, or is no template.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"{path} cannot be read: {error}") from error
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Self:
        """Reads a template's text; `path` is for the error.

        Raises:
            TemplateError: It is no template.
        """
        try:
            document = yaml.load(text, Loader=Loader)  # noqa: S506 - derived from SafeLoader
        except yaml.YAMLError as error:
            raise TemplateError(f"{path} cannot be read: {error}") from error
        if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
            raise TemplateError(f"{path} is no template: expected a mapping with Resources")
        return cls(document)

    def properties(self, logical_id: str) -> dict[str, Any]:
        """A resource's properties; a reference to a parameter that has a default is replaced by that default.

        Raises:
            TemplateError: There is no such resource.
        """
        resources = self.document["Resources"]
        if logical_id not in resources:
            raise TemplateError(f"there is no resource {logical_id!r}: expected one of {', '.join(resources)}")
        resolved: dict[str, Any] = self._resolve(resources[logical_id].get("Properties", {}))
        return resolved

    def table(self, name: str) -> "CreateTableInputTypeDef":
        """The table's definition as arguments of `create_table`, under a name of its own.

        Raises:
            TemplateError: The table has a property that is not known here; local tables would silently lack it.
        """
        arguments: dict[str, Any] = {"TableName": name}
        for property_, value in self.properties(TABLE).items():
            if property_ in SAME_IN_THE_API:
                arguments[property_] = value
            elif property_ == "SSESpecification":
                # The API says Enabled where CloudFormation says SSEEnabled.
                arguments[property_] = {"Enabled" if key == "SSEEnabled" else key: flag for key, flag in value.items()}
            elif property_ not in DEPLOYMENT_ONLY:
                raise TemplateError(f"{TABLE} has a property {property_!r} that local tables do not have yet")
        return cast("CreateTableInputTypeDef", arguments)

    def time_to_live_attribute(self) -> str | None:
        """The attribute by which the table's items expire, or None where they do not."""
        specification = self.properties(TABLE).get("TimeToLiveSpecification", {})
        return specification["AttributeName"] if specification.get("Enabled") else None

    def environment(self) -> dict[str, Any]:
        """The function's environment variables: texts, or intrinsic functions that only a deployment resolves."""
        variables: dict[str, Any] = self.properties(FUNCTION)["Environment"]["Variables"]
        return variables

    def statements(self) -> list[dict[str, Any]]:
        """All statements of the function's role, also conditional ones, with `Action` and `Resource` as lists."""
        return [
            statement | {name: _as_list(statement[name]) for name in ("Action", "Resource")}
            for policy in _unconditional(self.properties(ROLE)["Policies"])
            for statement in policy["PolicyDocument"]["Statement"]
        ]

    def _resolve(self, value: Any) -> Any:
        match value:
            case {"Ref": str(name)} if "Default" in self.document.get("Parameters", {}).get(name, {}):
                return self.document["Parameters"][name]["Default"]
            case dict():
                return {key: self._resolve(item) for key, item in value.items()}
            case list():
                return [self._resolve(item) for item in value]
            case _:
                return value


def _unconditional(values: list[Any]) -> Iterator[Any]:
    """The values, and both branches of those that a condition decides on, less those that are none."""
    for value in values:
        match value:
            case {"Fn::If": [_, yes, no]}:
                yield from _unconditional([yes, no])
            case {"Ref": "AWS::NoValue"}:
                pass
            case _:
                yield value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
