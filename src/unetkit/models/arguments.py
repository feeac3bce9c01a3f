"""Checks of a network's arguments, whose errors name the key as the user types it, as in `model.depth=7`."""

from unetkit import errors


def check(name: str, value: object, holds: bool, wanted: str) -> None:
    """Check an argument.

    Raises:
        UserError: If `holds` is false: `model.NAME=VALUE must be WANTED`.
    """
    errors.check(f"model.{name}", value, holds, wanted)


def check_positive(**values: object) -> None:
    """Check that arguments are integers above 0."""
    for name, value in values.items():
        check(name, value, is_positive(value), "a positive integer")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that an argument is one of the choices."""
    check(name, value, value in choices, "one of " + ", ".join(choices))


def check_rate(name: str, value: float) -> None:
    """Check that an argument is a probability below 1."""
    check(name, value, 0 <= value < 1, "at least 0 and below 1")


def is_positive(value: object) -> bool:
    """Return whether a value is an integer above 0."""
    return errors.is_whole(value, 1)
