"""Names of earlier versions that still work, in what is typed, in configurations and in run directories."""

from typing import Any

# Keys of the configuration: their old name, and today's.
KEYS = {
    "data.resident": "data.cache_on_device",
    "data.order_seed": "data.shuffle_seed",
}
# Files of groups that were removed, as they were typed, and what to type instead.
REMOVED = {
    "loss=bce_then_lovasz": "loss=bce_lovasz",  # not shown to be worse: results/ablations.md
}
# What `_target_` names in older configurations and checkpoints.
TARGETS = {
    "unetkit.callbacks.EMA": "unetkit.training.callbacks.EMA",
    "unetkit.loggers.tensorboard_logger": "unetkit.training.loggers.tensorboard_logger",
    "unetkit.loggers.wandb_logger": "unetkit.training.loggers.wandb_logger",
    "unetkit.schedules.poly": "unetkit.training.schedules.poly",
    "unetkit.schedules.warmup_cosine": "unetkit.training.schedules.warmup_cosine",
}


def with_new_targets(node: Any) -> Any:
    """Return nested plain containers in which each renamed target has today's name."""
    if isinstance(node, dict):
        return {key: with_new_targets(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_new_targets(value) for value in node]
    return TARGETS.get(node, node) if isinstance(node, str) else node
