"""Whole runs on small synthetic data: real files, real Hydra composition, real Lightning."""

import csv
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from unetkit.paths import config_dir
from unetkit.training.records import Summary
from unetkit.training.run import train

ROOT = Path(__file__).parents[2]
TINY = ["model=plain_small", "data.count=24", "data.size=36", "data.batch_size=8", "model.channels=[4,8]"]
QUIET = ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """Compose the shipped configuration."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(name, list(overrides))


def config(run_dir: Path, cache: Path, *overrides: str) -> DictConfig:
    """Compose a run of two epochs of a tiny network on 24 synthetic pairs, three batches an epoch."""
    fixed = [f"run_dir={run_dir}", f"data.cache_dir={cache}"]
    return composed(*TINY, *QUIET, "trainer.max_epochs=2", *fixed, *overrides)


def run(run_dir: Path, cache: Path, *overrides: str) -> Summary:
    """Train it."""
    return train(config(run_dir, cache, *overrides))


def rows(run_dir: Path) -> list[dict[str, str]]:
    """Read the metrics that a run logged."""
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state
