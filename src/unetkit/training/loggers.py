"""Where scalars and pictures go beside the run directory."""

import netrc
import os
from contextlib import suppress
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from unetkit.errors import UserError


def wandb_logger(save_dir: str, project: str, entity: str | None, name: str | None, mode: str) -> WandbLogger:
    """A W&B run; mode `auto` is `online` where W&B knows a key, else `offline`.

    Args:
        save_dir: The folder that gets `wandb/`.
        project: On W&B.
        entity: Team or user; None for the key's own.
        name: Of the run; None for W&B's choice.
        mode: `auto`, `online` or `offline`.

    Raises:
        UserError: If the mode is another, or online without a key.
    """
    if mode not in ("auto", "online", "offline"):
        raise UserError(f"logger.wandb.mode={mode} must be auto, online or offline")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    if mode == "online" and not _has_key():
        raise UserError("logger.wandb.mode=online needs a key: run `wandb login`, or use offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")  # train.py says in one line where the run lies
    return WandbLogger(save_dir=save_dir, project=project, entity=entity, name=name, offline=mode == "offline")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    for file in [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]:  # the second: Windows
        with suppress(OSError, netrc.NetrcParseError):
            if any("wandb" in host for host in netrc.netrc(Path(file).expanduser()).hosts):
                return True
    return False


def tensorboard_logger(save_dir: str) -> TensorBoardLogger:
    """TensorBoard files in `save_dir`/tensorboard.

    Raises:
        UserError: If TensorBoard is not installed.
    """
    try:
        return TensorBoardLogger(save_dir=save_dir, name="", version="tensorboard")
    except ModuleNotFoundError as error:
        raise UserError('logger=tensorboard needs `pip install -e ".[tensorboard]"`') from error
