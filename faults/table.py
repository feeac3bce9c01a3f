"""The table of faults: how often each was tried, and what happened."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from faults.cases import Case, Result


class Row(NamedTuple):
    """A fault and what came of it.

    Attributes:
        fault: The fault.
        how: How it is tried.
        counts: What happened, and how often.
        failures: The cases that were not as promised: name, what happened, what was said.
    """

    fault: str
    how: str
    counts: dict[str, int]
    failures: list[list[str]]


def rows_of(cases: Sequence[Case], results: Sequence[Result]) -> list[Row]:
    """Return a row for each fault, in the order of the cases."""
    rows = []
    for fault in dict.fromkeys(case.fault for case in cases):
        tried = [(case, result) for case, result in zip(cases, results, strict=True) if case.fault == fault]
        counts = Counter(result.what for _, result in tried)
        failures = [[case.name, result.what, result.said] for case, result in tried if not result.is_good]
        rows.append(Row(fault.name, fault.how, dict(counts.most_common()), failures))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown, and below it the cases that were not as promised."""
    lines = ["| fault | how it is tried | times | what happens |", "|---|---|---|---|"]
    for row in rows:
        happened = "; ".join(f"{count} {what}" for what, count in row.counts.items())
        lines.append(f"| {row.fault} | {row.how} | {sum(row.counts.values())} | {happened} |")
    failures = [f"- {row.fault}, {name}: {what}: {said}" for row in rows for name, what, said in row.failures]
    return "\n".join([*lines, "", *(["not as promised:", *failures] if failures else ["all as promised"])])
