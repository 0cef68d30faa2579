"""What the plugins' grants mean to IAM: which keys the function's role may read, in words of a policy.

plugin.toml is what the handler obeys. The role says the same once more, to DynamoDB itself, so that a hole in the
handler opens no other key. It knows no plugins, only the function: the role's keys are those of all plugins together.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from handler.memory.dynamodb import PROBE_KEY
from handler.plugins import PluginSpec
from infra import template
from infra.errors import CommandError
from infra.template import Template, TemplateError

ACTIONS = ("dynamodb:GetItem", "dynamodb:BatchGetItem")
"""All that the handler asks of DynamoDB."""
LEADING_KEYS = "dynamodb:LeadingKeys"
"""The condition key that holds the partition keys of a request (DynamoDB Developer Guide, "Using IAM policy conditions
for fine-grained access control")."""

SPECIAL = frozenset("*?$")
"""What means more than itself in a StringLike: written as `${*}`, `${?}` and `${$}` (IAM User Guide, "IAM policy
elements: Variables and tags")."""
SAYABLE = re.compile(r"[\t\n\r -~\xa0-\xff]")
"""A character that a policy document can hold (IAM API Reference, PutRolePolicy: up to U+00FF), less those that YAML
cannot."""

MOST_CHARACTERS = 9_000
"""Of the 10,240 that all inline policies of a role may have, white space left out (IAM quotas); the rest is for the
role's other statements."""
LINE_LENGTH = 120

WRITE = "uv run extism-lambda plugins --policy --write"


class PolicyError(CommandError):
    """The grants cannot be said in a policy, or the template does not say them."""


@dataclass(frozen=True, slots=True)
class KeyPatterns:
    """The keys that the role may read, as patterns of StringLike; sorted, each once, none covered by a prefix."""

    patterns: tuple[str, ...]

    @classmethod
    def of(cls, specs: Iterable[PluginSpec]) -> Self:
        """What all these plugins may read, and what `/readyz` asks for.

        Raises:
            PolicyError: They are more than a role's policy can hold.
        """
        keys, prefixes = {PROBE_KEY}, set[str]()
        for spec in specs:
            keys |= spec.reads.keys
            prefixes |= set(spec.reads.prefixes)
        shortest = {one for one in prefixes if not any(one != other and one.startswith(other) for other in prefixes)}
        alone = {key for key in keys if not key.startswith(tuple(shortest))}
        patterns = sorted({pattern(key) for key in alone} | {pattern(prefix, "*") for prefix in shortest})
        size = sum(len(json.dumps(one)) + 1 for one in patterns)
        if size > MOST_CHARACTERS:
            raise PolicyError(
                f"the keys that the plugins may read take {size} characters in the role's policy, which has room for "
                f'{MOST_CHARACTERS}: grant prefixes, such as "public/*", in place of single keys'
            )
        return cls(tuple(patterns))

    @classmethod
    def in_template(cls, document: Template) -> Self:
        """What a template's role may read.

        Raises:
            TemplateError: No statement of the role, or more than one, has a condition on the keys.
        """
        conditions = [
            operator[LEADING_KEYS]
            for statement in document.statements()
            for operator in statement.get("Condition", {}).values()
            if isinstance(operator.get(LEADING_KEYS), list)
        ]
        if len(conditions) != 1:
            raise TemplateError(f"{template.ROLE} has {len(conditions)} lists of {LEADING_KEYS}: expected one")
        return cls(tuple(conditions[0]))

    def statement(self) -> dict[str, Any]:
        """The role's statement, as template.yaml has it.

        ForAllValues is true of no values too; with Null, a request that names no keys is refused.
        """
        return {
            "Effect": "Allow",
            "Action": list(ACTIONS),
            "Resource": {"Fn::GetAtt": [template.TABLE, "Arn"]},
            "Condition": {
                "ForAllValues:StringLike": {LEADING_KEYS: list(self.patterns)},
                "Null": {LEADING_KEYS: "false"},
            },
        }

    def difference(self, needed: "KeyPatterns", missing: str, beyond: str) -> str | None:
        """In what these patterns are not those that are needed, in words; None where they are.

        Args:
            needed: The patterns that are needed.
            missing: The verb for those that are not here.
            beyond: The verb for those that are here and not needed.
        """
        told = [
            f"{verb} {', '.join(map(repr, sorted(some)))}"
            for verb, some in (
                (missing, set(needed.patterns) - set(self.patterns)),
                (beyond, set(self.patterns) - set(needed.patterns)),
            )
            if some
        ]
        return " and ".join(told) or None


def pattern(text: str, end: str = "") -> str:
    """A key, or the beginning of keys, as a pattern of StringLike.

    A character that a policy cannot hold becomes `*`, which grants more than plugin.toml does: the handler still obeys
    plugin.toml.
    """
    written = (f"${{{c}}}" if c in SPECIAL else c if SAYABLE.match(c) else "*" for c in text)
    return "".join(_once([*written, *end]))


def _once(written: Iterable[str]) -> Iterator[str]:
    """The parts of a pattern, less each `*` after another."""
    before = ""
    for one in written:
        if (before, one) != ("*", "*"):
            yield one
        before = one


def check(specs: Mapping[str, PluginSpec], path: Path | None = None) -> str | None:
    """In what a template's role differs from the plugins' grants, and what to do; None where it does not.

    Args:
        specs: The plugins by name.
        path: The template; by default the project's.

    Raises:
        PolicyError: The grants are more than a policy can hold.
        TemplateError: The template cannot be read, or has no such list.
    """
    path = path or template.PATH
    needed = KeyPatterns.of(specs.values())
    difference = KeyPatterns.in_template(Template.read(path)).difference(needed, "lacks", "grants in vain")
    return difference and f"{path.name}: the function's role {difference}. Run `{WRITE}`"


def write(specs: Mapping[str, PluginSpec], path: Path | None = None) -> str | None:
    """Writes the plugins' grants into a template; every other character of it stays.

    Args:
        specs: The plugins by name.
        path: The template; by default the project's.

    Returns:
        What was added and removed; None where nothing was, and the file was left alone.

    Raises:
        PolicyError: The grants are more than a policy can hold.
        TemplateError: The template cannot be read, or has no such list.
    """
    path = path or template.PATH
    needed = KeyPatterns.of(specs.values())
    difference = KeyPatterns.in_template(Template.read(path)).difference(needed, "added", "removed")
    if difference is None:
        return None
    text = path.read_text(encoding="utf-8")
    start, end = _place(text)
    written = text[:start] + flow(needed.patterns, text[:start].rpartition("\n")[2]) + text[end:]
    path.write_text(written, encoding="utf-8")
    return difference


def _place(text: str) -> tuple[int, int]:
    """Where the list is: the indices of its bracket and of what comes after it."""
    for node in _nodes(yaml.compose(text, Loader=template.Loader)):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == LEADING_KEYS and isinstance(value, yaml.SequenceNode) and value.flow_style:
                    return value.start_mark.index, value.end_mark.index
    raise TemplateError(f"the template has no list of {LEADING_KEYS} that can be replaced: expected it in brackets")


def _nodes(node: Any) -> Iterator[yaml.Node]:
    yield node
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for child in pair:
                yield from _nodes(child)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _nodes(child)


def flow(patterns: Iterable[str], before: str) -> str:
    """A list in brackets: on the line that begins with `before`, or a line for each where that would be too long."""
    texts = [json.dumps(one) for one in patterns]
    line = f"[{', '.join(texts)}]"
    if len(before) + len(line) <= LINE_LENGTH:
        return line
    indent = " " * (len(before) - len(before.lstrip()) + 2)
    return "[\n" + ",\n".join(indent + text for text in texts) + "]"
