"""What the plugins' grants become in IAM's words."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.memory.dynamodb import PROBE_KEY
from handler.plugins import Grants, PluginSpec, load_catalog
from infra import policy
from infra.policy import KeyPatterns, PolicyError
from infra.template import Template, TemplateError

ROOT = Path(__file__).resolve().parent.parent.parent


def reading(*patterns: str, name: str = "any") -> PluginSpec:
    """A plugin that may read these keys."""
    return PluginSpec(
        name=name,
        description="",
        wasm=Path("any.wasm"),
        sha256=None,
        functions=("run",),
        reads=Grants.of(list(patterns)),
    )


def patterns_of(*specs: PluginSpec) -> list[str]:
    """The patterns that the role needs for plugins, less the one for /readyz."""
    return [one for one in KeyPatterns.of(specs).patterns if one != PROBE_KEY]


def is_like(pattern: str, text: str) -> bool:
    """What IAM's StringLike does, by its User Guide: `*` is any characters, `?` is one, `${*}` is `*` itself.

    There is no IAM on this machine, and moto's has no conditions.
    """
    tokens = re.findall(r"\$\{[*?$]\}|.", pattern, re.DOTALL)
    regex = "".join(
        ".*" if one == "*" else "." if one == "?" else re.escape(one[2] if len(one) > 1 else one) for one in tokens
    )
    return re.fullmatch(regex, text, re.DOTALL) is not None


class TestTemplate:
    """template.yaml and the committed plugins."""

    def test_the_role_may_read_what_the_plugins_may(self) -> None:
        """No key more, no key less; the failure says what to run."""
        difference = policy.check(load_catalog(ROOT / "plugins"))
        assert difference is None, difference

    def test_the_roles_statement_is_the_generated_one(self) -> None:
        """Not the keys alone: also actions, table and the other condition are what `plugins --policy` prints."""
        printed = KeyPatterns.of(load_catalog(ROOT / "plugins").values()).statement()
        printed["Resource"] = [printed["Resource"]]
        assert printed in Template.read().statements()


class TestPatterns:
    """Which patterns grants become."""

    def test_readyz_may_always_ask(self) -> None:
        """Also where no plugin reads anything, /readyz asks for its key."""
        assert KeyPatterns.of([]).patterns == (PROBE_KEY,)
        assert KeyPatterns.of([reading()]).patterns == (PROBE_KEY,)

    def test_all_plugins_together(self) -> None:
        """The role is the function's: what any plugin may read, each pattern once, in an order that does not change."""
        assert patterns_of(reading("b", "a/*"), reading("c", "b")) == ["a/*", "b", "c"]

    def test_a_prefix_covers_what_begins_with_it(self) -> None:
        """What a shorter prefix grants is not said again."""
        assert patterns_of(reading("a/b/*", "a/*", "a/key", "ab")) == ["a/*", "ab"]

    def test_a_plugin_that_may_read_everything(self) -> None:
        """One pattern says it, which covers the key of /readyz too."""
        assert KeyPatterns.of([reading("*", "hello")]).patterns == ("*",)

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("a*b", "a${*}b"),
            ("a?", "a${?}"),
            ("${aws:username}", "${$}{aws:username}"),
            ("größe", "größe"),
            ("🎉", "*"),
            ("a🎉🎉b", "a*b"),
            ("del\x7f", "del*"),
        ],
    )
    def test_characters_that_iam_would_not_take_as_they_are(self, key: str, expected: str) -> None:
        """Wildcards and variables are escaped; what a policy cannot hold at all becomes a wildcard."""
        assert policy.pattern(key) == expected

    def test_a_prefix_that_ends_in_what_a_policy_cannot_hold(self) -> None:
        """Two wildcards in a row are one."""
        assert policy.pattern("a🎉", "*") == "a*"

    @given(st.lists(st.text(min_size=1, max_size=6), max_size=6), st.text(min_size=1, max_size=6))
    def test_the_role_allows_whatever_a_plugin_may_read(self, granted: list[str], key: str) -> None:
        """IAM never refuses a key that plugin.toml grants: for the handler that would be a broken table."""
        patterns = KeyPatterns.of([reading(*granted)]).patterns
        exact = [one for one in granted if not one.endswith("*")]
        beginning = [one[:-1] + key for one in granted if one.endswith("*")]
        for allowed in [*exact, *beginning, PROBE_KEY]:
            assert any(is_like(one, allowed) for one in patterns), allowed

    @given(
        st.lists(st.text(alphabet="ab*?${}/", min_size=1, max_size=5), max_size=5),
        st.text(alphabet="ab*?${}/", min_size=1, max_size=6),
    )
    def test_the_role_allows_no_key_that_no_plugin_may_read(self, granted: list[str], key: str) -> None:
        """Where a policy can hold every character, it grants exactly what plugin.toml grants."""
        patterns = KeyPatterns.of([reading(*granted)]).patterns
        assert any(is_like(one, key) for one in patterns) == Grants.of(granted).allow(key)

    def test_more_keys_than_a_role_can_hold(self) -> None:
        """The error says how much there is room for, and what to grant instead."""
        with pytest.raises(PolicyError, match="room for 9000: grant prefixes"):
            KeyPatterns.of([reading(*(f"customer/{number}" for number in range(1000)))])

    def test_a_request_that_names_no_key_is_refused(self) -> None:
        """ForAllValues is true where there is nothing to compare; the condition Null refuses such a request."""
        condition = KeyPatterns.of([]).statement()["Condition"]
        assert condition["Null"] == {"dynamodb:LeadingKeys": "false"}


TEMPLATE = """# A comment
Resources:
  FunctionRole:
    Properties:
      Policies:
        - PolicyName: any
          PolicyDocument:
            Statement:
              - Action: dynamodb:GetItem
                Resource: !GetAtt MemoryTable.Arn
                Condition:
                  ForAllValues:StringLike:
                    dynamodb:LeadingKeys: {keys} # keep me
                  "Null": {{ dynamodb:LeadingKeys: "false" }}
Outputs: {{}}
"""


class TestWriting:
    """What --write does to a template."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A template whose role may read one key that nobody reads."""
        path = tmp_path / "template.yaml"
        path.write_text(TEMPLATE.format(keys='["old"]'))
        return path

    def specs(self, *patterns: str) -> Mapping[str, PluginSpec]:
        return {"any": reading(*patterns)}

    def test_only_the_list_changes(self, path: Path) -> None:
        """Comments, order and tags stay as they were typed."""
        difference = policy.write(self.specs("b", "a/*"), path)

        assert difference == "added 'a/*', 'b', 'extism-lambda/readyz' and removed 'old'"
        assert path.read_text() == TEMPLATE.format(keys='["a/*", "b", "extism-lambda/readyz"]')
        assert policy.check(self.specs("b", "a/*"), path) is None

    def test_what_is_right_is_left_alone(self, path: Path) -> None:
        """The file is not even touched."""
        policy.write(self.specs("b"), path)
        before = path.stat().st_mtime_ns

        assert policy.write(self.specs("b"), path) is None
        assert path.stat().st_mtime_ns == before

    @pytest.mark.parametrize("size", [2, 40])
    def test_a_long_list_has_a_line_for_each(self, path: Path, size: int) -> None:
        """It can be read, and written again, and everything after it stays."""
        keys = [f"some/{number:02}/" + "x" * 10 for number in range(size)]
        policy.write(self.specs(*(f"{key}*" for key in "abcdefghijklmnopqrstuvwxyz" * 2)), path)

        policy.write(self.specs(*keys), path)

        assert list(KeyPatterns.in_template(Template.read(path)).patterns) == [PROBE_KEY, *keys]
        assert max(map(len, path.read_text().splitlines())) <= policy.LINE_LENGTH + len(" # keep me")
        assert "# A comment" in path.read_text()
        assert path.read_text().endswith("Outputs: {}\n")

    @given(st.lists(st.text(min_size=1, max_size=8), max_size=8))
    def test_any_key_can_be_written(self, keys: list[str]) -> None:
        """Whatever plugin.toml can grant comes out of the template again as it went in."""
        needed = KeyPatterns.of(self.specs(*keys).values())
        text = TEMPLATE.format(keys=policy.flow(needed.patterns, " " * 40))
        assert KeyPatterns.in_template(Template.parse(text, Path("any"))) == needed

    def test_a_template_without_the_list(self, tmp_path: Path) -> None:
        """The error says what was looked for."""
        path = tmp_path / "template.yaml"
        path.write_text("Resources: {FunctionRole: {Properties: {Policies: []}}}")
        with pytest.raises(TemplateError, match=r"FunctionRole has 0 lists of dynamodb:LeadingKeys: expected one"):
            policy.write(self.specs("a"), path)

    def test_a_list_in_another_style_is_refused(self, path: Path) -> None:
        """A template whose list cannot be replaced in place stays as it is; the error says how to write it."""
        text = TEMPLATE.format(keys='\n                      - "old"')
        path.write_text(text)
        with pytest.raises(TemplateError, match="expected it in brackets"):
            policy.write(self.specs("a"), path)
        assert path.read_text() == text
