"""Earlier names that still work: in what is typed, in configuration files, in checkpoints and in run directories."""

import logging
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from unetkit.paths import config_dir
from unetkit.run_files import read_config

log = logging.getLogger(__name__)

# Keys of the configuration: the earlier name, and the present one.
KEYS = {
    "data.resident": "data.cache_on_device",
    "data.order_seed": "data.shuffle_seed",
}
# Choices that were removed, and what to type instead.
REMOVED = {
    "loss=bce_then_lovasz": "loss=bce_lovasz",  # not shown to be worse: results/ablations.md
}
# Values of `_target_`.
TARGETS = {
    "lightning.pytorch.callbacks.EarlyStopping": "unetkit.training.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping": "unetkit.training.callbacks.EarlyStopping",
    "torch.optim.lr_scheduler.OneCycleLR": "unetkit.training.schedules.one_cycle",
    "unetkit.callbacks.EMA": "unetkit.training.callbacks.EMA",
    "unetkit.loggers.tensorboard_logger": "unetkit.training.loggers.tensorboard_logger",
    "unetkit.loggers.wandb_logger": "unetkit.training.loggers.wandb_logger",
    "unetkit.schedules.poly": "unetkit.training.schedules.poly",
    "unetkit.schedules.warmup_cosine": "unetkit.training.schedules.warmup_cosine",
}
# The earlier argument of losses, in pixels. It is still accepted, since a value of `smoothing` means something else.
SMOOTH = re.compile(r"loss\.(terms\.\w+\.)?smooth=.*", re.DOTALL)


def use_new_names(cfg: DictConfig) -> None:
    """Replace earlier names in a configuration, in place; a log line for each says the present one.

    A configuration that an earlier version composed, as the `config.yaml` of its runs, also gets the keys that are new.
    """
    if "task_name" not in cfg:
        _add_new_keys(cfg)
    if "metrics" not in cfg:
        from unetkit.evaluation.primary import primary_of_config  # here, as --help should not wait for torch

        with open_dict(cfg):
            cfg.metrics = {"primary": primary_of_config({"monitor": cfg.monitor}).name, "extra": []}
    config = OmegaConf.to_container(cfg)
    old_keys = [key for key in KEYS if _has(config, key)]
    targets = sorted({leaf for leaf in _leaves(config) if leaf in TARGETS})
    renamed = with_new_names(config)
    if renamed == config:
        return
    for old, new in [*((key, KEYS[key]) for key in old_keys), *((name, TARGETS[name]) for name in targets)]:
        log.info("%s is now called %s", old, new)
    made = OmegaConf.create(renamed)
    with open_dict(cfg):
        for key in list(cfg):
            cfg[key] = made[key]


def with_new_names(config: Any) -> Any:
    """Return a configuration of plain containers in which earlier names of keys and targets are replaced."""
    renamed = with_new_targets(config)
    for old, new in KEYS.items():
        if _has(renamed, old):
            section, _, name = old.rpartition(".")
            renamed[section][new.rpartition(".")[2]] = renamed[section].pop(name)
    if isinstance(renamed, dict) and "loss" in renamed:
        renamed["loss"] = _with_one_smoothing(renamed["loss"])
    return renamed


def with_smooth_added(typed: str) -> str:
    """Return an override, with `++` before it if it sets the earlier key `smooth` of a loss, which must be added."""
    return f"++{typed}" if SMOOTH.fullmatch(typed) else typed


def keep_earlier_defaults(cfg: DictConfig, file: Path) -> None:
    """Let a resumed run keep what earlier versions did, where a default has changed, unless another value is set.

    Args:
        cfg: The configuration, changed in place.
        file: `config.yaml` of the run that is resumed; it need not exist.
    """
    if file.is_file():
        then = read_config(file)
        _keep_smoothing(cfg, then.get("loss"))
        _keep_crops(cfg, then.get("data"))


def _keep_crops(cfg: DictConfig, then: Any) -> None:
    """Keep one crop of each image in an epoch, which lies anywhere."""
    is_older = isinstance(then, dict) and "crops_per_image" not in then
    if is_older and cfg.data.crops_per_image == "auto":
        cfg.data.crops_per_image, cfg.data.foreground_crops = 1, 0.0
        if then.get("crop_size") is not None:
            log.info("the run continues with one crop of each image in an epoch: data.crops_per_image=1")


def _keep_smoothing(cfg: DictConfig, then: Any) -> None:
    """Keep a smoothing in pixels."""
    loss = OmegaConf.to_container(cfg.loss)
    kept = _with_smoothing_of(then, loss)
    if kept != loss:
        log.info("the run continues with the smoothing that it was trained with, which is in pixels: loss.smooth")
        with open_dict(cfg):
            cfg.loss = kept


def _with_smoothing_of(then: Any, now: Any) -> Any:
    """Return the nested containers `now` of a loss with `smooth` of `then` wherever the losses are the same."""
    from unetkit.losses.regions import SMOOTHING  # here, as the commands' --help should not wait for torch

    if not isinstance(then, dict) or not isinstance(now, dict):
        return now
    kept = {key: _with_smoothing_of(then.get(key), value) for key, value in now.items()}
    if then.get("_target_") == now.get("_target_") and then.get("smooth") and now.get("smoothing") == SMOOTHING:
        del kept["smoothing"]
        kept["smooth"] = then["smooth"]
    return kept


def _with_one_smoothing(node: Any) -> Any:
    """Leave `smoothing` out of each loss that has `smooth` as well, which overrules it."""
    if not isinstance(node, dict):
        return node
    is_old = node.get("smooth") is not None
    return {key: _with_one_smoothing(value) for key, value in node.items() if not (is_old and key == "smoothing")}


def with_new_targets(node: Any) -> Any:
    """Return nested plain containers in which each renamed target has its present name."""
    if isinstance(node, dict):
        return {key: with_new_targets(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_new_targets(value) for value in node]
    return TARGETS.get(node, node) if isinstance(node, str) else node


def _add_new_keys(cfg: DictConfig) -> None:
    """Add the checkpoints and the learning-rate log that earlier versions always had, and the words to find a run."""
    always = OmegaConf.load(config_dir() / "callbacks" / "default.yaml")
    with open_dict(cfg):
        cfg.task_name, cfg.tags = "train", []
        cfg.callbacks = OmegaConf.merge(always, cfg.callbacks)


def _has(config: Any, key: str) -> bool:
    section, _, name = key.rpartition(".")
    return isinstance(config, dict) and isinstance(config.get(section), dict) and name in config[section]


def _leaves(node: Any) -> list[Any]:
    if isinstance(node, dict | list):
        return [leaf for value in (node.values() if isinstance(node, dict) else node) for leaf in _leaves(value)]
    return [node]
