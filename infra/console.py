"""Where the command line prints to: results to stdout, everything else to stderr."""

from rich.console import Console
from rich.text import Text

out = Console()
err = Console(stderr=True, soft_wrap=True)


def printable(text: str) -> Text:
    """A text of somebody else's for a cell of a table: no markup is read in it, and nothing in it moves the cursor."""
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def told(message: str, style: str = "") -> None:
    """Prints a line for a person on stderr, as it is."""
    err.print(message, style=style, markup=False, highlight=False)
