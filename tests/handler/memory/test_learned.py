"""Which keys are fetched beside the start of a call."""

from handler.memory.learned import LearnedKeys
from handler.plugins import Prefetch


def read(*keys: str) -> dict[str, bytes | None]:
    """What a call has read: values of ten bytes."""
    return dict.fromkeys(keys, b"0123456789")


def test_nothing_is_expected_of_the_first_call() -> None:
    """Before a function has been called, nothing is known."""
    assert LearnedKeys(Prefetch()).expected() == ()


def test_the_keys_of_the_last_call_are_expected() -> None:
    """What was read last time is expected in the same order; what is no longer read drops out."""
    learned = LearnedKeys(Prefetch())

    learned.learn(read("a", "b", "c"), ())
    assert learned.expected() == ("a", "b", "c")

    learned.learn(read("c", "d"), learned.expected())
    assert learned.expected() == ("c", "d")


def test_missing_keys_are_expected_too() -> None:
    """A key that is not there costs a read as well."""
    learned = LearnedKeys(Prefetch())

    learned.learn({"missing": None}, ())

    assert learned.expected() == ("missing",)


def test_a_function_whose_key_is_its_input_stops_to_cost_reads() -> None:
    """After a batch of which nothing was wanted, only keys that two calls in a row have read are fetched."""
    learned = LearnedKeys(Prefetch())
    learned.learn(read("user/1"), ())

    learned.learn(read("user/2"), learned.expected())
    assert learned.expected() == ()
    learned.learn(read("user/3"), ())
    assert learned.expected() == ()

    learned.learn(read("user/3"), ())
    assert learned.expected() == ("user/3",)
    learned.learn(read("user/3", "settings"), learned.expected())
    assert learned.expected() == ("user/3", "settings")


def test_a_call_that_reads_nothing_clears_what_is_expected() -> None:
    """Keys drop out with the first call that does not read them, even all of them."""
    learned = LearnedKeys(Prefetch())
    learned.learn(read("a"), ())

    learned.learn({}, ("a",))

    assert learned.expected() == ()


def test_it_can_be_off() -> None:
    """With `prefetch = false` nothing is ever expected."""
    learned = LearnedKeys(Prefetch(enabled=False))

    learned.learn(read("a"), ())

    assert learned.expected() == ()


def test_it_is_bounded_in_number_and_bytes() -> None:
    """No more keys than prefetch_keys, and no more bytes of keys and values than prefetch_bytes, by their last size."""
    few = LearnedKeys(Prefetch(keys=2))
    few.learn(read("a", "b", "c"), ())
    assert few.expected() == ("a", "b")

    small = LearnedKeys(Prefetch(bytes=22))
    small.learn(read("a", "b", "c"), ())
    assert small.expected() == ("a", "b")
