"""Kills, damaged and hostile files for unetkit, and a table of what happens: `python scripts/torture.py --short`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.__main__ import main

if __name__ == "__main__":
    main()
