"""Train from Python, in a script or notebook, with the configuration of the command `unetkit train`."""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from unetkit.checkpoints.loading import load
from unetkit.errors import UserError
from unetkit.paths import config_dir, expanded, new_folder, quoted_for_hydra
from unetkit.prediction.predictor import Predictor
from unetkit.training.explain import explain
from unetkit.training.records import Summary, monitored_score
from unetkit.training.renamed import with_smooth_added
from unetkit.training.run import train as train_config


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        run_dir: Folder with checkpoints, pictures, metrics and configuration.
        summary: The content of `summary.json`: scores, and facts of the run.
    """

    run_dir: Path
    summary: Summary

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return Path(self.summary["last_checkpoint"])

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint of the epoch with the best monitored value."""
        return Path(self.summary["best"]["checkpoint"])

    @property
    def score(self) -> float | None:
        """The best value of what is monitored: the leading score, unless `monitor` is set."""
        return monitored_score(self.summary)

    def predictor(self, device: str = "auto", **options: Any) -> Predictor:
        """Return the network of the last epoch, ready to predict images; arguments as for `unetkit.load`."""
        return load(self.checkpoint, device, **options)


def train(
    data: str | Path = "synthetic",
    model: str = "unet_small",
    epochs: int | None = None,
    *,
    run_dir: str | Path | None = None,
    overrides: Mapping[str, object] | Sequence[str] = (),
    **choices: object,
) -> Run:
    """Train a network, as `unetkit train` does.

    Args:
        data: A folder with `images/` and `masks/`, or the name of a file of `conf/data` such as `tgs_salt`.
        model: The name of a file of `conf/model`.
        epochs: Number of epochs; None for that of the configuration.
        run_dir: Folder of the run; None for `runs/DAY/TIME-MODEL`.
        overrides: Keys with dots and their values, as in `{"data.batch_size": 8, "trainer.precision": 16}`, or what
            would be typed, as in `["data.batch_size=8"]`.
        **choices: Other groups, and keys without dots, as in `loss="bce_lovasz", callbacks="ema", seed=48`.

    Returns:
        The finished run.

    Raises:
        UserError: If the configuration or the data have a mistake.

    Example:
        >>> run = unetkit.train("my_data", model="unet_small", epochs=50)  # doctest: +SKIP
        >>> run.predictor()(image).mask  # doctest: +SKIP
    """
    folder = expanded(run_dir) if run_dir is not None else new_run_dir(Path("runs"), model)
    keys: dict[str, object] = {"model": model, **choices}
    if epochs is not None:
        keys["trainer.max_epochs"] = epochs
    typed = overrides if isinstance(overrides, Sequence) else [override(*item) for item in overrides.items()]
    fixed = [override("run_dir", folder.resolve())]
    all_typed = [*data_overrides(data), *(override(*item) for item in keys.items()), *typed, *fixed]
    cfg = compose_training(all_typed)
    _show_log_lines()
    try:
        return Run(folder, train_config(cfg, all_typed))
    except UserError as error:
        given = [text for text in typed if text.startswith(f"{error.subject}.")]
        if not given:
            raise
        raise error.about(" ".join(given)) from error  # Lightning does not name the key


def data_overrides(data: str | Path) -> list[str]:
    """Return what would be typed for data that are named, or that lie in a folder."""
    names = {file.stem for file in (config_dir() / "data").glob("*.yaml")} - {"base"}
    if data in names:  # a Path is always a folder
        return [f"data={data}"]
    return ["data=folder", override("data.root", expanded(data))]


def override(key: str, value: object) -> str:
    """Return what would be typed to set a key to a value.

    Raises:
        UserError: If a configuration can't hold the value.
    """
    return f"{key}={_typed(key, value)}"


def _typed(key: str, value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return quoted_for_hydra(str(value))
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_typed(key, member)}' for name, member in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(_typed(key, member) for member in value)}]"
    problem = f"is a {type(value).__name__}, which a configuration can't hold"
    raise UserError(f"{key}={value!r}", problem, "give text, a number, True, False, None, or a list or dict of these")


def compose_training(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Compose `conf/train.yaml`, also inside another program that uses Hydra.

    Args:
        overrides: What would be typed.
        with_hydra: Return Hydra's own keys as well.

    Raises:
        UserError: If a file or key does not exist, or an override can't be parsed.
    """
    others = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # or Hydra refuses to start a second time
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            typed = [with_smooth_added(text) for text in overrides]
            return compose("train", typed, return_hydra_config=with_hydra)
    except HydraException as error:
        raise explain(error) from error
    finally:
        GlobalHydra.instance().hydra = others


def new_run_dir(base: Path, model: str) -> Path:
    """Create a folder of this day and time that nobody else has."""
    name = time.strftime("%Y-%m-%d/%H-%M-%S-") + re.sub(r"\W+", "_", model)
    return new_folder(base / name)


def _show_log_lines() -> None:
    """Print log lines, as the command does, where nobody has configured logging, as in a notebook."""
    logger = logging.getLogger("unetkit")
    if not logging.getLogger().handlers and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
