"""What a run is a part of: a cross-validation, a sweep or a search, or nothing."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

SEARCH = "tune"  # the task of a trial of a search


def is_in_sweep() -> bool:
    """Return whether Hydra runs this job as one of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_fold(cfg: DictConfig) -> bool:
    """Return whether a run is part of a cross-validation, whose folds have one recipe and find their checkpoints."""
    return "cross_validation" in cfg


def is_found_again(cfg: DictConfig) -> bool:
    """Return whether the command, typed again, finds the checkpoint of a run: one of several that it starts."""
    return is_fold(cfg) or is_in_sweep() or cfg.get("task_name") == SEARCH
