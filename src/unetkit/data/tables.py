"""Read the CSV files that come with images."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from unetkit.data.limits import check_kind
from unetkit.errors import UserError

MAX_BYTES = 2**32  # of a table of run-length codes


def read_rows(path: Path, columns: Sequence[str], most: int = MAX_BYTES) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield the number of the line and the values of each row of a CSV in UTF-8; None where a row is too short.

    Args:
        path: The file.
        columns: Names of the columns to read.
        most: Largest size of the file, in bytes.

    Raises:
        UserError: If it is no regular file, too large, no such text, or lacks a column.
    """
    try:
        size = check_kind(path)
        if size > most:
            raise UserError(str(path), f"has {size:,} bytes, more than {most:,}", "is it the right file?")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not set(columns) <= set(reader.fieldnames or []):
                names = ",".join(reader.fieldnames or [])[:100]
                shown = names if names.isprintable() else ascii(names)
                problem = f"must have the columns {','.join(columns)}, not {shown}"
                raise UserError(str(path), problem)
            for row in reader:
                yield reader.line_num, {name: row[name] for name in columns}
    except UnicodeDecodeError as error:
        raise UserError(str(path), "is not UTF-8 text", "save it as CSV in UTF-8") from error
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(str(path), f"can't be read ({reason})", "save it again as CSV") from error
