"""A training of a few steps whose result is not kept, for tests of learning rates and batch sizes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from unetkit.data import SegmentationDataModule
from unetkit.training.build import build_module, build_trainer, prepare_data
from unetkit.training.mistakes import library_mistakes, training_mistakes
from unetkit.training.module import SegmentationModule
from unetkit.training.run import resolve
from unetkit.training.run_stats import RunStats

ALONE = {  # keys that would end or interrupt the trial
    "max_epochs": -1,
    "max_time": None,
    "step": "eager",
    "check_val_every_n_epoch": 10**9,
    "val_check_interval": 1.0,
    "num_sanity_val_steps": 0,
    "fast_dev_run": False,
}


@contextmanager
def trial(
    cfg: DictConfig, max_steps: int = -1
) -> Iterator[tuple[L.Trainer, SegmentationModule, SegmentationDataModule]]:
    """Give trainer, module and data of a configuration, with a constant learning rate; nothing that they write is kept.

    Args:
        cfg: The configuration.
        max_steps: Steps of the optimiser; -1 for no limit.

    Raises:
        UserError: If the configuration or the data have a mistake.
    """
    with tempfile.TemporaryDirectory() as folder:
        cfg = cfg.copy()
        cfg.run_dir, cfg.logger = folder, {}
        OmegaConf.update(cfg, "trainer", ALONE | {"max_steps": max_steps})
        resolve(cfg)
        L.seed_everything(cfg.seed, verbose=False)
        with library_mistakes():
            data = prepare_data(cfg)
            module = build_module(cfg, data)
            module.schedule = None  # a learning-rate test has its own
            trainer = build_trainer(cfg, Path(folder), RunStats())
        with training_mistakes(cfg):
            yield trainer, module, data
