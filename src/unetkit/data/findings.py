"""What is found in the files of a data set: one finding for each kind of problem, however many files have it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

NAMES_SHOWN = 3


class Severity(IntEnum):
    """How serious a finding is, the most serious first."""

    FAULT = 0  # training stops with an error
    WARNING = 1  # training runs, but its result may suffer
    NOTE = 2  # nothing to correct


@dataclass(frozen=True)
class Finding:
    """A fact about the files, and what to do about it.

    Attributes:
        severity: How serious it is.
        what: The problem in one line without file names, e.g. `3 images have no mask`.
        fix: The remedy, in one line.
        names: Names of all files concerned.
        ids: Ids of the pairs concerned, shown on the contact sheet.
        command: A command that does it, if one line does.
    """

    severity: Severity
    what: str
    fix: str
    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    command: str = ""


def finding_on(
    severity: Severity, what: str, fix: str, names: Iterable[str], ids: Iterable[str] = (), command: str = ""
) -> list[Finding]:
    """Return one finding about the named files, or none if there are no files.

    Args:
        severity: How serious it is.
        what: The problem, in which `{n}` stands for the number of files, and `{s}`, `{is}`, `{has}` and `{it}` for
            the forms that agree with it: s, are, have and each where there are several.
        fix: The remedy.
        names: Names of the files.
        ids: Ids of their pairs.
        command: A command that does it.
    """
    names = tuple(names)
    if not names:
        return []
    several = len(names) > 1
    words = {
        "{n}": f"{len(names):,}",
        "{s}": "s" if several else "",
        "{is}": "are" if several else "is",
        "{has}": "have" if several else "has",
        "{it}": "each" if several else "it",
    }
    for placeholder, word in words.items():  # str.format would fail on braces in a file's name
        what = what.replace(placeholder, word)
    return [Finding(severity, what, fix, names, tuple(ids), command)]


def most_serious_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by severity, then by the number of files."""
    return sorted(findings, key=lambda finding: (finding.severity, -len(finding.names)))


def first_names(names: Sequence[str]) -> str:
    """Join the first few names, and say how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
