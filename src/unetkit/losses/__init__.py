"""Losses of logits (B, C, *), class indices (B, *) and a boolean mask (B, *) of the valid pixels.

The * stands for the spatial dimensions, (H, W) or (D, H, W). C = 1 means binary, through a sigmoid; C >= 2 means
several classes, through a softmax. For binary targets both give the same loss, since the softmax of two logits is the
sigmoid of their difference; only the Lovasz loss has a different form for each.

All losses are computed in float32 and averaged over the images of a batch, and all give a false positive on an empty
mask a gradient.

To add a loss: write a class with `per_image` (see `PerImageLoss`) in a file here, with its paper; name it in `__all__`
below; add a file to conf/loss, with `_target_: unetkit.losses.NAME`, and, for `loss=sum`, a line to each list of
conf/loss/sum.yaml. Then `train.py loss=FILE` finds it, and so does tests/losses/test_every_loss.py.
"""

from unetkit.losses.compose import DiceBCELoss, WeightedSum, apply_loss, wants_weight
from unetkit.losses.labels import EachLabel
from unetkit.losses.lovasz import LovaszLoss
from unetkit.losses.pixels import CrossEntropyLoss, FocalLoss, TopKLoss, WeightedCrossEntropyLoss
from unetkit.losses.regions import (
    DiceLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    JaccardLoss,
    MCCLoss,
    TverskyLoss,
)
from unetkit.losses.shapes import BoundaryLoss, ClDiceLoss, HausdorffLoss

__all__ = [
    "BoundaryLoss",
    "ClDiceLoss",
    "CrossEntropyLoss",
    "DiceBCELoss",
    "DiceLoss",
    "EachLabel",
    "FocalLoss",
    "FocalTverskyLoss",
    "GeneralizedDiceLoss",
    "HausdorffLoss",
    "JaccardLoss",
    "LovaszLoss",
    "MCCLoss",
    "TopKLoss",
    "TverskyLoss",
    "WeightedCrossEntropyLoss",
    "WeightedSum",
    "apply_loss",
    "wants_weight",
]
