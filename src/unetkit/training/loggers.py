"""Loggers beside the CSV file of every run: Weights & Biases, and TensorBoard."""

import netrc
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from unetkit.errors import UserError, check


def wandb_logger(
    save_dir: str,
    project: str,
    entity: str | None = None,
    name: str | None = None,
    mode: str = "auto",
    tags: Sequence[str] = (),
    job_type: str | None = None,
) -> WandbLogger:
    """Start a W&B run.

    Args:
        save_dir: The folder in which `wandb/` is made.
        project: Name of the project on W&B.
        entity: Team or user; None for the owner of the key.
        name: Name of the run; None for one that W&B makes up.
        mode: `online`, `offline`, or `auto`: online if W&B finds a key, else offline.
        tags: Words to find the run by.
        job_type: Kind of run, such as `train`.

    Raises:
        UserError: If the mode is another, or online without a key.
    """
    check("logger.wandb.mode", mode, mode in ("auto", "online", "offline"), "auto, online or offline")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "online" and not _has_key():
        raise UserError("logger.wandb.mode=online", "needs a key", "run `wandb login`, or use offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")  # log_results says in one line where the run is
    return WandbLogger(
        save_dir=save_dir,
        project=project,
        entity=entity,
        name=name,
        offline=mode == "offline",
        tags=[str(tag) for tag in tags],
        job_type=job_type,
    )


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    for file in [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]:  # the second: Windows
        with suppress(OSError, netrc.NetrcParseError):
            if any("wandb" in host for host in netrc.netrc(Path(file).expanduser()).hosts):
                return True
    return False


def tensorboard_logger(save_dir: str) -> TensorBoardLogger:
    """Write TensorBoard files to `save_dir`/tensorboard.

    Raises:
        UserError: If TensorBoard is not installed.
    """
    try:
        return TensorBoardLogger(save_dir=save_dir, name="", version="tensorboard")
    except ModuleNotFoundError as error:
        fix = 'pip install "unetkit[tensorboard]"'
        raise UserError("logger=tensorboard", "needs TensorBoard, which is not installed", fix) from error
