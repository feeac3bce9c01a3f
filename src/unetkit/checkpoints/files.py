"""Find checkpoint files by what was typed for them, read them without running code, and write them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import torch

from unetkit.checkpoints.hub import download, is_on_hub
from unetkit.errors import UserError
from unetkit.paths import matching, path_of

ZIP = b"PK\x03\x04"  # first bytes of a zip
EXPORTED = (".onnx", ".pt2", ".xml")  # suffixes of what `unetkit export` writes, besides checkpoints


def checkpoint_file(path: str | Path, key: str = "checkpoint") -> Path:
    """Return the file of a checkpoint.

    RUN stands for `RUN/checkpoints/last.ckpt`, RUN/best for its `best.ckpt`, and `hf://OWNER/NAME` for a file of the
    Hugging Face Hub.
    """
    if is_on_hub(path):
        return download(path, key)
    file = path_of(key, path)
    if not file.exists() and (named := file.parent / "checkpoints" / f"{file.name}.ckpt").is_file():
        return named
    return last if (last := file / "checkpoints" / "last.ckpt").is_file() else file


def find_checkpoints(given: object) -> list[Path]:
    """Return the files of one path or several.

    Args:
        given: A path or a list of them, each a checkpoint, a run directory, a cross-validation, or a pattern of these;
            `RUN/best` is the best epoch of a run directory.

    Raises:
        UserError: If a path or pattern matches no file.
    """
    files: list[Path] = []
    for item in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        found = matching(str(path_of("checkpoint", item))) or _matching_named(path_of("checkpoint", item))
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
        UserError: If the file does not exist, is damaged, or holds more than tensors and plain containers.
    """
    file, subject = checkpoint_file(path, key), f"{key}={path}"
    if not file.is_file():
        if members := sorted((file / "ensemble").glob("*.ckpt")):
            fix = f"give one, as {key}={members[0]}, or all to unetkit.load_ensemble"
            raise UserError(subject, f"is a cross-validation of {len(members)} networks", fix)
        problem = "holds no checkpoints/last.ckpt" if file.is_dir() else "does not exist or is not a file"
        raise UserError(subject, problem, _advice(file / "checkpoints" if file.is_dir() else file.parent, key, file))
    try:
        return _load(file)
    except Exception as error:  # damaged bytes make torch.load raise almost anything
        if file.suffix in EXPORTED:
            fix = "give the run or the .ckpt that it was exported from"
            raise UserError(subject, "is an exported network, not a checkpoint", fix) from error
        is_strange = isinstance(error, UnpicklingError)
        reason = "not a file of torch.save, or one that holds code" if is_strange else f"damaged{_found(error)}"
        problem = f"can't be read safely as a checkpoint ({reason})"
        raise UserError(subject, problem, _advice(file.parent, key, file)) from error


def check_zip(file: Path) -> None:
    """Compare the content of a zip, as torch.save writes, with its checksums, which torch.load leaves unread.

    This reads about 1 GB/s. Files without checksums, as of `torch.serialization.set_crc32_options(False)` or of
    torch before 1.6, are not compared.

    Raises:
        BadZipFile: If a byte differs, or the content would be larger than the file.
    """
    with file.open("rb") as stream:
        if stream.read(4) != ZIP:
            return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > file.stat().st_size:
            raise zipfile.BadZipFile("its content is larger than the file")
        if any(member.CRC for member in members) and (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {PurePosixPath(broken).name} differs")


def write_content(content: dict[str, Any], file: Path) -> None:
    """Write a file of `torch.save`.

    Raises:
        OSError: If it can't be written; torch.save itself would hide the cause, such as a full disk.
    """
    with file.open("wb") as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _matching_named(pattern: Path) -> list[Path]:
    """Return the files that a pattern such as `runs/*/best` names."""
    named = (run / "checkpoints" / f"{pattern.name}.ckpt" for run in matching(str(pattern.parent)))
    return [file for file in named if file.is_file()]


def _load(file: Path) -> Any:
    check_zip(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _found(error: Exception) -> str:
    return f": {error}" if isinstance(error, zipfile.BadZipFile) else ", or not a checkpoint"


def _advice(folder: Path, key: str, damaged: Path) -> str:
    """Say which checkpoint to give: the newest one of the folder that is whole, if there is one."""
    others = [file for file in folder.glob("*.ckpt") if file.is_file() and file != damaged]
    for other in sorted(others, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            _load(other)
        except Exception:  # as above
            continue
        return f"give {key}={other}, which is whole"
    return "give another" if damaged.is_file() else "give the path of a checkpoint"
