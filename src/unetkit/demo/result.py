"""Predict an image with the checkpoints of the page, and show the predictions as HTML."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unetkit.demo import markup
from unetkit.demo.demo_model import DemoModel
from unetkit.demo.display import fit
from unetkit.errors import UserError
from unetkit.plots.images import CLASS_COLOURS, GREY, Image, colour_of, encode_png, heatmap, overlay, to_rgb
from unetkit.prediction.predictor import Prediction

COLOURS = np.concatenate([np.zeros((1, 3), np.uint8), CLASS_COLOURS])  # by class; the background is black


@dataclass(frozen=True)
class Result:
    """The prediction of one network for one image; the session keeps it, so that moving the threshold is fast.

    Attributes:
        name: Name of the image.
        picture: The image as it is shown, (h, w, 3) uint8.
        probability: Probability (H, W) of the foreground, or of the most probable of several classes.
        mask: Class indices (H, W), or None if the threshold decides.
        figures: Image and probability as HTML, which do not depend on the threshold.
        seconds: Time that the prediction took.
        class_names: Names of class 0, 1, ..., or of the labels, as far as they are known.
        min_area: Masks of fewer pixels are made empty.
        has_background: Whether class 0 is background.
        is_multilabel: Whether the mask holds labels as bits.
    """

    name: str
    picture: Image
    probability: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    figures: str
    seconds: float
    class_names: Sequence[str]
    min_area: int
    has_background: bool = True
    is_multilabel: bool = False

    def mask_at(self, threshold: float) -> NDArray[np.uint8]:
        """Return class indices (H, W)."""
        if self.mask is not None:
            return self.mask
        return Prediction.of(
            torch.from_numpy(self.probability)[None], threshold, self.min_area, is_multilabel=self.is_multilabel
        ).mask


def predict(model: DemoModel, name: str, image: NDArray[Any]) -> Result:
    """Predict an image as read from a file.

    Raises:
        UserError: If it is not of the kind that the network was trained on.
    """
    pixels = model.predictor.preprocessing.to_uint8(image, name)
    start = time.perf_counter()
    prediction = model.predictor.predict_prepared(pixels)
    seconds = time.perf_counter() - start
    probability, mask = prediction.probability, None
    caption = "Probability"
    if probability.ndim == 3:
        caption = f"Probability of the {'likeliest label' if model.predictor.is_multilabel else 'predicted class'}"
        probability, mask = probability.max(0), prediction.mask
    picture = to_rgb(fit(pixels))
    scale = f'{caption}, 0<span class="scale"></span>1'
    figures = markup.figure("image", picture, "Image") + markup.figure("probability", heatmap(fit(probability)), scale)
    return Result(
        name,
        picture,
        probability,
        mask,
        figures,
        seconds,
        model.class_names,
        model.predictor.min_area,
        model.has_background,
        model.predictor.is_multilabel,
    )


def show(result: Result, threshold: float) -> str:
    """Return the pictures of a result, its facts and a link to download the mask, as HTML."""
    mask = result.mask_at(threshold)
    small = fit(mask, cv2.INTER_NEAREST)
    figures = result.figures + markup.figure("mask", _drawn(result, small), "Mask")
    drawn = overlay(result.picture, small, result.has_background, is_multilabel=result.is_multilabel)
    figures += markup.figure("overlay", drawn, "Overlay")
    facts = [
        markup.text(result.name),
        f"{mask.shape[1]:,} x {mask.shape[0]:,} pixels",
        f"{result.seconds:.2f} s",
        *_shares(mask, result),
    ]
    line = "".join(f"<span>{fact}</span>" for fact in facts) + _download(result, mask)
    return f'<div class="pictures">{figures}</div><div class="facts">{line}</div>'


def respond(
    models: Sequence[DemoModel], name: str, read: Callable[[], NDArray[Any]], thresholds: Sequence[float]
) -> list[Any]:
    """Predict an image with all models.

    Returns:
        A notice as HTML, which is empty if the image could be read; then for each model its result or None, and HTML.
    """
    try:
        image = read()
    except UserError as error:
        return [_problem(error), *[None, ""] * len(models)]
    shown: list[Any] = [""]
    for model, threshold in zip(models, thresholds, strict=True):
        try:
            result = predict(model, name, image)
            shown += [result, show(result, threshold)]
        except UserError as error:
            shown += [None, _problem(error)]
    return shown


def _drawn(result: Result, mask: NDArray[np.uint8]) -> Image:
    """Return the mask as a picture: black and white, or in the colours of classes or labels."""
    if result.mask is None:
        return mask * np.uint8(255)
    if result.is_multilabel:
        return overlay(np.zeros((*mask.shape, 3), np.uint8), mask, is_multilabel=True)
    colours = COLOURS.copy()
    colours[0] = COLOURS[0] if result.has_background else GREY
    return colours[mask]


def _shares(mask: NDArray[np.uint8], result: Result) -> list[str]:
    """Return the colour, name and share of pixels of each class or label that is there, a background left out."""
    is_binary = result.mask is None
    if result.is_multilabel:
        shares = {label + 1: float((mask >> label & 1).mean()) for label in range(len(result.class_names))}
        names = ["", *result.class_names]
    else:
        counts = np.bincount(mask.ravel(), minlength=2)
        shares = {label: count / mask.size for label, count in enumerate(counts.tolist())}
        names = list(result.class_names) or (["background", "foreground"] if is_binary else [])
        names += [f"class {label}" for label in range(len(names), len(counts))]
    shown = [label for label, share in shares.items() if (label or not result.has_background) and (is_binary or share)]
    return [
        f'<span class="swatch" style="background: rgb{colour_of(label)}"></span>'
        f"{markup.text(names[label])} {shares[label]:.1%}"
        for label in shown
    ]


def _download(result: Result, mask: NDArray[np.uint8]) -> str:
    is_binary = result.mask is None
    content = encode_png(mask * np.uint8(255) if is_binary else mask)
    values = "0 and 255" if is_binary else "a bit for each label" if result.is_multilabel else "class indices"
    return (
        f'<a class="download" download="{markup.text(Path(result.name).stem)}_mask.png" '
        f'href="{markup.data_url(content)}">Download mask (PNG, {values})</a>'
    )


def _problem(error: UserError) -> str:
    return f'<div class="problem" role="alert">{markup.text(str(error))}</div>'
