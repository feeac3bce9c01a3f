"""Weights of classes that are computed from the training masks: `loss.class_weights=auto`, `loss.pos_weight=auto`."""

import logging
from collections.abc import Iterator

import numpy as np
from omegaconf import DictConfig, ListConfig

from unetkit.data import SegmentationDataModule
from unetkit.data.balancing import AUTO, foreground_weight, median_frequency_weights
from unetkit.errors import UserError

log = logging.getLogger(__name__)


def settle_class_weights(cfg: DictConfig, data: SegmentationDataModule) -> None:
    """Replace `auto` in the weights of the loss, in place, and check that the weights fit the classes.

    Raises:
        UserError: If they do not, or the foreground that `auto` weighs is in no training mask.
    """
    pixels = data.found.pixels[data.split.indices("train")]
    for key, node in _losses("loss", cfg.loss):
        if data.is_multilabel:
            _settle_labels(key, node, data)
            continue
        if node.get("class_weights") == AUTO:
            node.class_weights = median_frequency_weights(pixels)
            named = zip(data.class_names, node.class_weights, strict=True)
            log.info("%s.class_weights=auto: %s", key, ", ".join(f"{name} {weight:g}" for name, weight in named))
        if node.get("pos_weight") == AUTO:
            node.pos_weight = foreground_weight(f"{key}.pos_weight=auto", pixels)
            log.info("%s.pos_weight=auto: %g", key, node.pos_weight)
        _check_fit(key, node, data.class_names)


def _settle_labels(key: str, node: DictConfig, data: SegmentationDataModule) -> None:
    """Replace `auto` in the weights of labels, in place, and check that there is one for each.

    Raises:
        UserError: If there is not, or a label that `auto` weighs is in no training mask.
    """
    names, weights = data.class_names, node.get("pos_weight")
    shown = ", ".join(names)
    if node.get("class_weights") is not None:
        problem = "is not known for data.labels=multilabel"
        fix = f"{key}.pos_weight=auto weighs the foreground of each label, and so does a list"
        raise UserError(f"{key}.class_weights={node.class_weights}", problem, fix)
    if weights == AUTO:
        train = data.split.indices("train")
        size = data.found.sizes[train, 1].sum()
        node.pos_weight = [
            foreground_weight(f"{key}.pos_weight=auto, of {name},", np.array([[size - pixels, pixels]]))
            for name, pixels in zip(names, data.found.pixels[train].sum(0), strict=True)
        ]
        each = (f"{name} {weight:g}" for name, weight in zip(names, node.pos_weight, strict=True))
        log.info("%s.pos_weight=auto: %s", key, ", ".join(each))
    elif isinstance(weights, ListConfig) and len(weights) != len(names):
        raise UserError(f"{key}.pos_weight={list(weights)}", f"must be {len(names)} weights, one each for {shown}")


def _losses(key: str, node: object) -> Iterator[tuple[str, DictConfig]]:
    """Yield each loss of nested ones that may have weights, with its key."""
    if isinstance(node, DictConfig):
        if "class_weights" in node:
            yield key, node
        for name, member in node.items():
            yield from _losses(f"{key}.{name!s}", member)


def _check_fit(key: str, node: DictConfig, names: list[str]) -> None:
    weights = node.class_weights
    if isinstance(weights, ListConfig) and len(weights) != len(names):
        problem = f"must be {len(names)} weights, one each for {', '.join(names)}"
        raise UserError(f"{key}.class_weights={list(weights)}", problem)
    if isinstance(node.get("pos_weight"), ListConfig):
        problem = "is for labels that overlap, and these masks are of classes"
        raise UserError(f"{key}.pos_weight={list(node.pos_weight)}", problem, "give one number")
    if node.get("pos_weight") is not None and len(names) > 2:
        problem = f"is for binary masks, and these have {len(names)} classes"
        raise UserError(f"{key}.pos_weight={node.pos_weight}", problem, f"use {key}.class_weights")
