"""Loggers beside the CSV file of every run: Weights & Biases, TensorBoard and MLflow."""

import json
import logging
import netrc
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from unetkit.errors import UserError, check
from unetkit.paths import expanded, write_json
from unetkit.training.wandb_run import LastingWandbLogger

log = logging.getLogger(__name__)

MLFLOW = "mlflow.json"  # in the run directory
MODES = ("online", "offline", "disabled")
EARLIER_MODES = {"run": "online", "dryrun": "offline"}  # names in earlier versions of W&B
PATIENCE = 5.0  # seconds to wait for W&B's server before a run


def wandb_logger(
    save_dir: str,
    project: str,
    entity: str | None = None,
    name: str | None = None,
    mode: str = "auto",
    tags: Sequence[str] = (),
    artifacts: bool = True,
    **options: Any,
) -> LastingWandbLogger:
    """Start a W&B run, or go on with an interrupted one; offline, with a warning, if the server does not answer.

    Args:
        save_dir: The folder in which `wandb/` is made.
        project: Name of the project on W&B.
        entity: Team or user; None for the owner of the key.
        name: Name of the run; None for one that W&B makes up.
        mode: `online`, `offline`, `disabled`, or `auto`: what WANDB_MODE says; else online if W&B finds a key, else
            offline.
        tags: Words to find the run by.
        artifacts: Whether checkpoints become versions of an artifact.
        **options: Other arguments of Lightning's `WandbLogger` and of `wandb.init`.

    Raises:
        UserError: If the mode is another, or online without a key.
    """
    check("logger.wandb.mode", mode, mode in ("auto", *MODES), f"auto, {', '.join(MODES)}")
    if mode == "auto":
        mode = mode_of()
    if mode == "online" and not _has_key():
        raise UserError("logger.wandb.mode=online", "needs a key", "run `wandb login`, or use offline")
    if mode == "online" and not answers(url := server()):
        log.warning("W&B: %s did not answer within %.0f s, so this run is logged offline", url, PATIENCE)
        mode = "offline"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")  # log_results says in one line where the run is
    return LastingWandbLogger(
        save_dir=save_dir,
        project=project,
        entity=entity,
        name=name,
        mode=mode,
        tags=[str(tag) for tag in tags],
        artifacts=artifacts,
        **options,
    )


@contextmanager
def wandb_refusals() -> Iterator[None]:
    """Raise a `UserError` where W&B refuses to start a run."""
    import wandb  # here, as W&B is not needed by other runs

    try:
        yield
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        fix = "check the key (`wandb login --relogin`), the entity and the project, or use logger.wandb.mode=offline"
        raise UserError("logger=wandb", f"is refused by {server()} ({reason})", fix) from error


def mode_of() -> str:
    """Return the mode that WANDB_MODE says; else `online` if W&B finds a key, else `offline`.

    Raises:
        UserError: If WANDB_MODE is none of these and not `disabled`.
    """
    given = os.environ.get("WANDB_MODE", "")
    mode = EARLIER_MODES.get(given, given) or ("online" if _has_key() else "offline")
    check("WANDB_MODE", mode, mode in MODES, f"one of {', '.join(MODES)}")
    return mode


def server() -> str:
    """Return the address of W&B's server, which the environment or W&B's own settings may change."""
    import wandb

    return str(wandb.setup().settings.base_url)


def answers(url: str) -> bool:
    """Return whether a server answers at all; W&B itself tries for two minutes."""
    found = []

    def ask() -> None:
        try:
            urlopen(url, timeout=PATIENCE).close()
            found.append(True)
        except HTTPError as error:
            found.append(error.code < 500)
        except (OSError, ValueError, HTTPException) as error:
            # W&B may be told to accept such a certificate.
            found.append(isinstance(getattr(error, "reason", None), ssl.SSLError))

    thread = Thread(target=ask, daemon=True)  # as looking up the name of a server has no limit of time
    thread.start()
    thread.join(PATIENCE)
    return any(found)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    for file in [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]:  # the second: Windows
        with suppress(OSError, netrc.NetrcParseError):
            if any("wandb" in host for host in netrc.netrc(expanded(file)).hosts):
                return True
    return False


def mlflow_logger(
    save_dir: str,
    tracking_uri: str | None = None,
    experiment: str = "unetkit",
    name: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    **options: Any,
) -> MLFlowLogger:
    """Log to MLflow; a run that was interrupted goes on as the same run.

    Args:
        save_dir: The run directory, in which `mlflow.json` keeps the id of the run.
        tracking_uri: Where MLflow keeps its runs; None for the SQLite file `mlflow.db` in the present folder.
        experiment: Name of MLflow's experiment.
        name: Name of the run.
        group: The sweep, search or cross-validation that it belongs to, as the tag `group`.
        tags: Words to find the run by, as the tag `tags`.
        **options: Other arguments of Lightning's `MLFlowLogger`.

    Raises:
        UserError: If MLflow is not installed.
    """
    words = {"group": group, "tags": ", ".join(map(str, tags))}
    file = Path(save_dir) / MLFLOW
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError):
        stored = None
    try:
        logger = MLFlowLogger(
            experiment_name=experiment,
            run_name=name,
            tracking_uri=tracking_uri or f"sqlite:///{Path('mlflow.db').absolute()}",
            tags={key: value for key, value in words.items() if value},
            run_id=stored,
            **options,
        )
    except ModuleNotFoundError as error:
        fix = 'pip install "unetkit[mlflow]"'
        raise UserError("logger=mlflow", "needs MLflow, which is not installed", fix) from error
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]  # set from the launcher's environment variables
        write_json(file, {"id": logger.run_id})
    return logger


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
