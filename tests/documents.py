"""The project's pages, those at the top and infra/docs/*.md, taken apart: links, anchors, commands, queries."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
INLINE = re.compile(r"`((?:uv run |extism-lambda |sam |aws )[^`]+)`")


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        path: Its file, in the project.
        text: What it says.
    """

    path: Path
    text: str

    @property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return FENCE.sub("", self.text)

    def anchors(self) -> set[str]:
        """The fragments that lead to its headings, as GitHub makes them."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(self.prose)}

    def links(self) -> list[str]:
        """What its links lead to."""
        return LINK.findall(self.prose)

    def blocks(self, language: str) -> list[str]:
        """Its blocks of code in a language."""
        return [text for name, text in FENCE.findall(self.text) if name == language]

    def commands(self) -> Iterator[list[str]]:
        """The commands that it tells to type, in words: those in blocks of sh, and those in the middle of a line.

        Commands that are joined are apart here; where their output goes is left out.
        """
        lines = [line for block in self.blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
        for line in lines + INLINE.findall(self.prose):
            yield from _split(line.replace("...", ""))


def _split(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell, less what comes after `>`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "&&"]:
        if set(word) <= set("&|"):
            if words:
                yield words[: words.index(">")] if ">" in words else words
            words = []
        else:
            words.append(word)


def pages() -> dict[str, Page]:
    """All pages by their names."""
    paths = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "infra" / "docs").glob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): Page(path, path.read_text(encoding="utf-8")) for path in paths}
