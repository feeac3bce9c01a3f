"""Checks of what a network is asked to be."""

from unetkit import errors


def check(name: str, value: object, holds: bool, wanted: str) -> None:
    """Raise a `UserError` that names the key of the network, its value and what is wanted, unless it holds."""
    errors.check(f"model.{name}", value, holds, wanted)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a value is one of some words."""
    check(name, value, value in choices, "one of " + ", ".join(choices))


def is_positive(value: object) -> bool:
    """Whether a value is an integer above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
