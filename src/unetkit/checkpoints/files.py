"""Find checkpoint files by what was typed for them, and read them without running code."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from unetkit.errors import UserError
from unetkit.paths import matching, path_of


def checkpoint_file(path: str | Path, key: str = "checkpoint") -> Path:
    """Return the file of a checkpoint; a run directory stands for its `checkpoints/last.ckpt`."""
    file = path_of(key, path)
    return last if (last := file / "checkpoints" / "last.ckpt").is_file() else file


def find_checkpoints(given: object) -> list[Path]:
    """Return the files of one path or several.

    Args:
        given: A path or a list of them, each a checkpoint, a run directory, a cross-validation, or a pattern of these.

    Raises:
        UserError: If a path or pattern matches no file.
    """
    files: list[Path] = []
    for item in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        found = matching(str(path_of("checkpoint", item)))
        if not found:
            raise UserError(f"checkpoint={item}", "matches no file", "give the path of a checkpoint")
        for path in found:
            files += sorted((path / "ensemble").glob("*.ckpt")) or [checkpoint_file(path)]
    if not files:
        raise UserError("checkpoint=[]", "names no file", "give the path of a checkpoint")
    return files


def read_safely(path: str | Path, key: str = "checkpoint") -> Any:
    """Return what a file of `torch.save` holds, on the CPU, without running code from the file.

    Args:
        path: The file, or a run directory.
        key: The key that the path was typed for, for messages.

    Raises:
        UserError: If the file does not exist, or holds more than tensors and plain containers.
    """
    file = checkpoint_file(path, key)
    if not file.is_file():
        raise UserError(f"{key}={path}", "does not exist or is not a file", "give the path of a checkpoint")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch.load raise almost anything
        is_strange = isinstance(error, UnpicklingError)
        reason = "not a file of torch.save, or one that holds code" if is_strange else "damaged, or not a checkpoint"
        raise UserError(f"{key}={path}", f"can't be read safely as a checkpoint ({reason})", "give another") from error
