"""Earlier names that still work: in what is typed, in configuration files, in checkpoints and in run directories."""

import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from unetkit.paths import config_dir

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
    "torch.optim.lr_scheduler.OneCycleLR": "unetkit.training.schedules.one_cycle",
    "unetkit.callbacks.EMA": "unetkit.training.callbacks.EMA",
    "unetkit.loggers.tensorboard_logger": "unetkit.training.loggers.tensorboard_logger",
    "unetkit.loggers.wandb_logger": "unetkit.training.loggers.wandb_logger",
    "unetkit.schedules.poly": "unetkit.training.schedules.poly",
    "unetkit.schedules.warmup_cosine": "unetkit.training.schedules.warmup_cosine",
}


def use_new_names(cfg: DictConfig) -> None:
    """Replace earlier names in a configuration, in place; a log line for each says the present one.

    A configuration that an earlier version composed, as the `config.yaml` of its runs, also gets the keys that are new.
    """
    if "task_name" not in cfg:
        _add_new_keys(cfg)
    config = OmegaConf.to_container(cfg)
    old_keys = [key for key in KEYS if _has(config, key)]
    targets = sorted({leaf for leaf in _leaves(config) if leaf in TARGETS})
    if not old_keys and not targets:
        return
    for old, new in [*((key, KEYS[key]) for key in old_keys), *((name, TARGETS[name]) for name in targets)]:
        log.info("%s is now called %s", old, new)
    renamed = OmegaConf.create(with_new_names(config))
    with open_dict(cfg):
        for key in list(cfg):
            cfg[key] = renamed[key]


def with_new_names(config: Any) -> Any:
    """Return a configuration of plain containers in which earlier names of keys and targets are replaced."""
    renamed = with_new_targets(config)
    for old, new in KEYS.items():
        if _has(renamed, old):
            section, _, name = old.rpartition(".")
            renamed[section][new.rpartition(".")[2]] = renamed[section].pop(name)
    return renamed


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
