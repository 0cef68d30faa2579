"""The tree of errors."""

from collections.abc import Iterator

import pytest

from handler import errors
from handler.errors import DeadlineExceeded, ExtismLambdaError, InvocationError, Unavailable

STATUS_OF = {
    "bad-request": 400,
    "unsupported-event": 400,
    "not-found": 404,
    "plugin-not-found": 404,
    "function-not-found": 404,
    "method-not-allowed": 405,
    "input-too-large": 413,
    "plugin-error": 422,
    "plugin-failed": 500,
    "plugin-trapped": 500,
    "plugin-out-of-memory": 500,
    "output-too-large": 500,
    "plugin-unusable": 500,
    "host-calls-exceeded": 500,
    "network-access-denied": 500,
    "memory-access-denied": 500,
    "memory-key-invalid": 500,
    "internal-error": 500,
    "network-failed": 502,
    "store-failed": 502,
    "unavailable": 503,
    "store-throttled": 503,
    "store-unreachable": 503,
    "no-free-instance": 503,
    "deadline-exceeded": 504,
}
"""Every type that an answer may have: written down here once more, since clients rely on it."""

BASES = {"InvocationError"}
"""Classes that are never answered with as such."""


def subclasses(cls: type[ExtismLambdaError]) -> Iterator[type[ExtismLambdaError]]:
    """All classes below a class."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


INVOCATION_ERRORS = [cls for cls in subclasses(InvocationError) if issubclass(cls, InvocationError)]


def test_every_error_is_in_the_drawing() -> None:
    """The tree at the head of the module shows every class, below its base."""
    lines = (errors.__doc__ or "").splitlines()
    depth = {
        word: line.index(word) for line in lines for word in line.split() if word.isidentifier() and word[0].isupper()
    }
    for cls in subclasses(ExtismLambdaError):
        base = cls.__bases__[0].__name__
        assert cls.__name__ in depth, f"{cls.__name__} is not drawn"
        assert depth[base] < depth[cls.__name__], f"{cls.__name__} is not drawn below {base}"


@pytest.mark.parametrize("cls", INVOCATION_ERRORS)
def test_every_error_has_a_documented_type_and_status(cls: type[InvocationError]) -> None:
    """An error's type is in the table above, with its status."""
    assert STATUS_OF[cls.type] == cls.status


@pytest.mark.parametrize("cls", INVOCATION_ERRORS)
def test_every_error_says_in_a_docstring_and_a_title_what_it_is(cls: type[InvocationError]) -> None:
    """Each class has words of its own for developers and for clients."""
    assert cls.__doc__ not in (None, cls.__bases__[0].__doc__)
    assert cls.title[0].isupper()
    assert not cls.title.endswith(".")


def test_types_are_unique() -> None:
    """A type means one class, except that the two places where time is spent share one and differ in spentIn."""
    seen: dict[str, type[InvocationError]] = {}
    for cls in INVOCATION_ERRORS:
        if issubclass(cls, DeadlineExceeded):
            continue
        assert cls.type not in seen, f"{cls.__name__} has the type of {seen[cls.type].__name__}"
        seen[cls.type] = cls
    assert {(cls.type, cls.spent_in) for cls in DeadlineExceeded.__subclasses__()} == {
        ("deadline-exceeded", "guest"),
        ("deadline-exceeded", "store"),
    }


def test_no_type_is_documented_in_vain() -> None:
    """Every type of the table belongs to a class."""
    assert set(STATUS_OF) == {cls.type for cls in INVOCATION_ERRORS}


@pytest.mark.parametrize("cls", INVOCATION_ERRORS)
def test_only_what_may_pass_by_itself_asks_to_try_again(cls: type[InvocationError]) -> None:
    """Retry-After goes with 503 and nothing else."""
    assert (cls.retry_after is not None) == (cls.status == 503) == issubclass(cls, Unavailable)


def test_the_detail_is_what_was_given() -> None:
    """An error keeps its public words, and prints as them."""
    error = errors.UnknownPlugin("there is no plugin 'x'")

    assert error.detail == str(error) == "there is no plugin 'x'"
