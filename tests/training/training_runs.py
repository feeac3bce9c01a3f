"""Whole runs on small synthetic data: real files, real Hydra composition, real Lightning."""

import copy
import csv
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from unetkit.paths import config_dir
from unetkit.training.records import Summary
from unetkit.training.run import train

ROOT = Path(__file__).parents[2]
TINY = ["model=plain_small", "data.count=24", "data.size=36", "data.batch_size=8", "model.channels=[4,8]"]
QUIET = ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """Compose the shipped configuration; each choice of files once, as that takes a tenth of a second."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [override for override in parsed if is_value(override)]
    files = tuple(override.input_line for override in parsed if not is_value(override))
    cfg = copy.deepcopy(compose_files(name, files))
    for override in values:
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg


def is_value(override: Override) -> bool:
    """Whether it sets a key that exists, and chooses no file."""
    is_group = (config_dir() / override.key_or_group.split("@")[0]).is_dir()
    return override.type == OverrideType.CHANGE and not is_group


@cache
def compose_files(name: str, files: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(name, list(files))


def config(run_dir: Path, cache: Path, *overrides: str) -> DictConfig:
    """Compose a run of two epochs of a tiny network on 24 synthetic pairs, three batches an epoch."""
    fixed = [f"run_dir={run_dir}", f"data.cache_dir={cache}"]
    return composed(*TINY, *QUIET, "trainer.max_epochs=2", *fixed, *overrides)


def run(run_dir: Path, cache: Path, *overrides: str) -> Summary:
    """Train it."""
    return train(config(run_dir, cache, *overrides))


def content_of(run_dir: Path) -> dict[str, Any]:
    """Read the last checkpoint of a run."""
    content: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def rows(run_dir: Path) -> list[dict[str, str]]:
    """Read the metrics that a run logged."""
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state
