"""Kaggle's submission: one CSV with the run-length codes of all masks."""

import csv
from pathlib import Path

from unetkit.data.rle import encode_rle
from unetkit.paths import whole_file
from unetkit.prediction.writers import WholeMask


class RunLengths(WholeMask):
    """Enters the run-length code of the mask into a table of Kaggle's submission."""

    def __init__(self, table: dict[str, str], name: str, height: int, width: int) -> None:
        super().__init__(height, width)
        self.table, self.name = table, name

    def finish(self) -> None:
        """Enter the code."""
        self.table[self.name] = encode_rle(self.mask)


def write_submission(path: Path, table: dict[str, str]) -> None:
    """Write Kaggle's `id,rle_mask`, sorted by id."""
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "rle_mask"])
        rows.writerows(sorted(table.items()))
