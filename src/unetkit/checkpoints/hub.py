"""Checkpoints on the Hugging Face Hub: `hf://OWNER/NAME[@REVISION][/FILE]`."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unetkit.errors import UserError

FILE = "model.ckpt"  # of a repository that `push_to_hub` made
# A `Path` has one slash after the colon.
ADDRESS = re.compile(r"hf://?(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>.+))?", re.ASCII)


def is_on_hub(path: str | Path) -> bool:
    """Return whether a path is an address of the Hub."""
    return str(path).startswith("hf:/")


def download(path: str | Path, key: str) -> Path:
    """Return the file at an address of the Hub, in the cache of huggingface_hub.

    Args:
        path: `hf://OWNER/NAME`, with `@REVISION` (a branch, tag or commit) and `/FILE`; the file is `model.ckpt` if
            none is given.
        key: The key that the address was typed for, for messages.

    Raises:
        UserError: If it is no such address, huggingface_hub is not installed, or the file can't be had.
    """
    address = re.sub(r"^hf:/+", "hf://", str(path))
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise UserError(f"{key}={address}", "is no address of the Hub", "give hf://OWNER/NAME[@REVISION][/FILE]")
    with hub_errors(f"{key}={address}"):
        from huggingface_hub import HfApi

        name = found["file"] or FILE
        return Path(HfApi().hf_hub_download(found["repo"], name, revision=found["revision"]))


@contextmanager
def hub_errors(subject: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into a `UserError` about the subject."""
    try:
        from huggingface_hub import utils
    except ImportError as error:
        raise UserError(subject, f"needs {error.name}", 'pip install "unetkit[hub]"') from error
    logger = utils.logging.get_logger("huggingface_hub")  # its level is set by the import above
    level = logger.level
    logger.setLevel(logging.ERROR)  # or it warns of each of its five tries
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of huggingface_hub, its client of HTTP, or the disk
        problem, fix = _explained(error)
        raise UserError(subject, problem, fix) from error
    finally:
        logger.setLevel(level)


def _explained(error: Exception) -> tuple[str, str]:
    """Return what is wrong, and what to do about it."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, errors.RevisionNotFoundError):
        return "has no such revision on the Hub", "give a branch, tag or commit of the repository"
    if isinstance(error, errors.LocalEntryNotFoundError) or not isinstance(error, errors.HfHubHTTPError | ValueError):
        return f"can't be reached ({reason})", "check the network, or give a file on this machine"
    if isinstance(error, errors.EntryNotFoundError):
        return "has no such file on the Hub", f"give hf://OWNER/NAME/FILE; without FILE it is {FILE}"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        fix = "check the name, and log in with a token that may use it: hf auth login"
        return "is not on the Hub, or not for you", fix
    return f"is refused by the Hub ({reason})", "check the name and the token"
