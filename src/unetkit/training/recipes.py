"""Compare the configuration of a run with that of an earlier one: is it the same recipe?"""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unetkit.run_files import read_config
from unetkit.training.renamed import keep_earlier_defaults, with_new_names

# Keys that say where, how and how long a run went on, and not what was trained.
PLACES = re.compile(
    r"(run_dir|checkpoint|checkpoint_every|logger|cross_validation|metrics|monitor|stop_on_nan|task_name|tags|channels_last"
    r"|model\.gradient_checkpointing"
    r"|callbacks\.(best|last|lr_monitor)"
    r"|data\.(primary_metric|extra_metrics|(pairs\.)?root|cache_dir|num_workers|cache_on_device|max_pixels)"
    r"|trainer\.(accelerator|devices|enable_progress_bar|log_every_n_steps|max_time|profiler|compile|step))(\..*)?"
)
# What runs that are older than these keys were trained with, by the last part of a key.
NEWER = {"background": 0, "label_smoothing": 0.0, "stacks": False, "shuffle": True}
NEWER |= {"crops_per_image": 1, "foreground_crops": 0.0}
SHOWN = 3  # differences in a message


def adopt_found(cfg: DictConfig, file: Path) -> None:
    """Set in a configuration what an earlier run found for `auto`, and its smoothing if that is in pixels.

    Args:
        cfg: The configuration, changed in place.
        file: The `config.yaml` of the earlier run.
    """
    keep_earlier_defaults(cfg, file)
    stored = flat(read_config(file))
    for key in ("channels", "num_classes"):
        if cfg.data.get(key) == "auto":
            cfg.data[key] = stored.get(f"data.{key}", "auto")


def differences(cfg: DictConfig, file: Path, ignored: str = "") -> str:
    """Return what is different in a recipe that was trained before: `KEY=THEN (now VALUE), ...`; empty if nothing is.

    Args:
        cfg: The configuration of now, after `adopt_found`.
        file: The `config.yaml` of the earlier run.
        ignored: One more key that may differ.
    """
    then = flat(with_new_names(read_config(file)))
    then.setdefault("data.shuffle_seed", then.get("data.seed"))  # the order of the images, before it had a key
    now = flat(OmegaConf.to_container(cfg, resolve=True))
    then |= {k: NEWER[name] for k in now.keys() - then.keys() if (name := k.rpartition(".")[2]) in NEWER}
    # What `auto` became then: weights of classes, or the direction of a score.
    is_found = re.compile(r"loss\..*|.*\.mode")
    then |= {k: "auto" for k, value in now.items() if value == "auto" and is_found.fullmatch(k) and then.get(k)}
    ordered = sorted(now.keys() | then.keys(), key=lambda key: (key.count("."), key))  # those that others follow first
    keys = [key for key in ordered if now.get(key) != then.get(key)]
    keys = [key for key in keys if key != ignored and not PLACES.fullmatch(key)]
    shown = ", ".join(f"{key}={then.get(key)} (now {now.get(key)})" for key in keys[:SHOWN])
    return f"{shown} and {len(keys) - SHOWN} more" if len(keys) > SHOWN else shown


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested containers by dotted key."""
    if not isinstance(node, dict):
        return {prefix: node}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
