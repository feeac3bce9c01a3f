"""Where a run keeps its checkpoint, and how its directory says whether it is done; needs no torch."""

from pathlib import Path

from unetkit.paths import expanded
from unetkit.run_files import STOPPED_BY, read_json

AUTO = "auto"  # value of checkpoint=


def last_checkpoint(run_dir: Path) -> Path:
    """Return the checkpoint that a run directory stands for; it need not exist."""
    return run_dir / "checkpoints" / "last.ckpt"


def run_of(checkpoint: str | Path) -> Path:
    """Return the run directory of a checkpoint, which may be given as that directory, or as RUN/best."""
    path = expanded(checkpoint)
    return next((run for run in (path, path.parent) if last_checkpoint(run).exists()), path.parent.parent)


def is_finished(run_dir: Path) -> bool:
    """Return whether the run in a directory was trained to its end.

    Raises:
        UserError: If its `summary.json` can't be read.
    """
    file = run_dir / "summary.json"
    return file.exists() and STOPPED_BY not in read_json(file)


def is_interrupted(run_dir: Path) -> bool:
    """Return whether a directory holds a run that can be resumed and is not done."""
    return last_checkpoint(run_dir).exists() and not is_finished(run_dir)
