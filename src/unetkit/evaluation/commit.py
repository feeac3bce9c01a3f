"""The commit of the code that made a result."""

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Return the commit of unetkit's code, with `+` if files differ from it; None outside a clone."""
    describe = ["describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    command = ["git", "-C", str(Path(__file__).parent), *describe]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
