"""What the doctor has to say: one finding a kind of trouble, however many files have it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

SHOWN = 3  # names that a finding gives


class Severity(IntEnum):
    """How bad it is, worst first."""

    FAULT = 0  # training stops there
    WARNING = 1  # training runs, and its result suffers
    NOTE = 2  # good to know


@dataclass(frozen=True)
class Finding:
    """Something about the files, and what to do about it.

    Attributes:
        severity: How bad it is.
        what: A line without its names, e.g. `3 images have no mask`.
        fix: A line.
        names: Of the files, all of them.
        ids: Of the pairs concerned, for the contact sheet.
    """

    severity: Severity
    what: str
    fix: str
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


def of_files(severity: Severity, what: str, fix: str, names: Iterable[str], ids: Iterable[str] = ()) -> list[Finding]:
    """A finding about some files, none where there are none; `{n}` in `what` becomes their number.

    `{s}` becomes the plural's s, `{have}` has or have, `{are}` is or are.
    """
    names = tuple(names)
    one = len(names) == 1
    filled = what.format(
        n=f"{len(names):,}", s="" if one else "s", have="has" if one else "have", are="is" if one else "are"
    )
    return [Finding(severity, filled, fix, names, tuple(ids))] if names else []


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then by the number of files."""
    return sorted(findings, key=lambda finding: (finding.severity, -len(finding.names)))


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
