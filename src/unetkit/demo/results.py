"""What a checkpoint says of an image, as HTML that holds its pictures itself, so that the page serves no file."""

import base64
import html
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.demo.images import to_display
from unetkit.errors import UserError
from unetkit.plots.images import CLASS_COLOURS, Image, encode_png, heatmap, overlay, to_rgb
from unetkit.prediction.predictor import Prediction, Predictor

COLOURS = np.concatenate([np.zeros((1, 3), np.uint8), CLASS_COLOURS])  # by class, the background black


@dataclass(frozen=True)
class Model:
    """A checkpoint on the page.

    Attributes:
        name: What to call it.
        predictor: Of the checkpoint.
        parameters: Of its network.
        class_names: Of class 0, 1, ..., as the checkpoint says them; others are called by their number.
    """

    name: str
    predictor: Predictor
    parameters: int
    class_names: Sequence[str] = ()

    @classmethod
    def load(cls, path: str, device: str) -> Self:
        """That of a checkpoint of `train.py`.

        Raises:
            UserError: As `unetkit.load`.
        """
        checkpoint = Checkpoint.read(path)
        network = checkpoint.build_network()  # the predictor's has fewer parameters: its norms are fused
        parameters = sum(weights.numel() for weights in network.parameters())
        return cls(path, checkpoint.predictor(device), parameters, checkpoint.metadata.class_names or ())

    @property
    def title(self) -> str:
        """Name and kind, as HTML."""
        preprocessing = self.predictor.preprocessing
        kind = f"{type(self.predictor.network).__name__}, {self.parameters:,} parameters"
        depth = "8-bit" if preprocessing.value_range is None else "16-bit or float"
        channels = f"{preprocessing.channels} channel{'s' * (preprocessing.channels > 1)}"
        return f"{_text(self.name)}<br><small>{kind}; {depth} images of {channels}</small>"

    @cached_property
    def is_binary(self) -> bool:
        """Whether it tells one foreground apart, whose threshold can be moved."""
        dtype = np.uint8 if self.predictor.preprocessing.value_range is None else np.float32
        return self.predictor(np.zeros((64, 64), dtype)).probability.ndim == 2


@dataclass(frozen=True)
class Result:
    """What one network says of one image: kept by the session, so that moving the threshold predicts nothing anew.

    Attributes:
        name: Of the image.
        picture: The image as it is shown, (h, w, 3), where large ones are reduced.
        probability: Of the foreground (H, W), or of the likeliest of several classes.
        mask: Class indices (H, W), or None where the threshold decides.
        figures: Those of image and probability, as HTML.
        seconds: That the prediction took.
        class_names: Of class 0, 1, ...
        min_area: Pixels below which a mask is made empty.
    """

    name: str
    picture: Image
    probability: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    figures: str
    seconds: float
    class_names: Sequence[str]
    min_area: int

    def mask_at(self, threshold: float) -> NDArray[np.uint8]:
        """Class indices (H, W)."""
        if self.mask is not None:
            return self.mask
        return Prediction.of(torch.from_numpy(self.probability)[None], threshold, self.min_area).mask


def predict(model: Model, name: str, image: NDArray[Any]) -> Result:
    """Predict an image as read.

    Raises:
        UserError: If it is not of the kind that the network was trained on.
    """
    pixels = model.predictor.preprocessing.to_uint8(image, name)
    start = time.perf_counter()
    prediction = model.predictor(image)
    seconds = time.perf_counter() - start
    probability, mask = prediction.probability, None
    of_what = "Probability"
    if probability.ndim == 3:
        of_what = "Probability of the likeliest class"
        probability, mask = probability.max(0), prediction.mask
    picture = to_rgb(to_display(pixels, cv2.INTER_AREA))
    colours = heatmap(to_display(probability, cv2.INTER_AREA))
    scale = f'{of_what}, 0<span class="scale"></span>1'
    figures = _figure("image", picture, "Image") + _figure("probability", colours, scale)
    min_area = model.predictor.min_area
    return Result(name, picture, probability, mask, figures, seconds, model.class_names, min_area)


def show(result: Result, threshold: float) -> str:
    """The pictures and figures of a result, as HTML."""
    mask = result.mask_at(threshold)
    small = to_display(mask, cv2.INTER_NEAREST)
    binary = result.mask is None
    black_and_colours = small * np.uint8(255) if binary else COLOURS[small]
    figures = result.figures + _figure("mask", black_and_colours, "Mask")
    figures += _figure("overlay", overlay(result.picture, small), "Overlay")
    counts = np.bincount(mask.ravel(), minlength=2)
    names = result.class_names or (("background", "foreground") if binary else ())
    names = [*names, *(f"class {label}" for label in range(len(names), len(counts)))]
    facts = [
        _text(result.name),
        f"{mask.shape[1]:,} x {mask.shape[0]:,} pixels",
        f"{result.seconds:.2f} s",
        *(
            f'<span class="swatch" style="background: rgb{tuple(CLASS_COLOURS[label - 1].tolist())}"></span>'
            f"{_text(name)} {counts[label] / mask.size:.1%}"
            for label, name in enumerate(names[: len(counts)])
            if label and (binary or counts[label])
        ),
    ]
    content = encode_png(mask * np.uint8(255) if binary else mask)
    download = (
        f'<a class="download" download="{_text(Path(result.name).stem)}_mask.png" href="{_data_url(content)}">'
        f"Download mask (PNG, {'0 and 255' if binary else 'class indices'})</a>"
    )
    line = "".join(f"<span>{fact}</span>" for fact in facts)
    return f'<div class="pictures">{figures}</div><div class="facts">{line}{download}</div>'


def respond(
    models: Sequence[Model], name: str, read: Callable[[], NDArray[Any]], thresholds: Sequence[float]
) -> list[Any]:
    """What became of an image: a notice as HTML, then of each model the result, or None, and its HTML."""
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


def _problem(error: UserError) -> str:
    return f'<div class="problem" role="alert">{_text(str(error))}</div>'


def _figure(kind: str, picture: NDArray[np.uint8], caption: str) -> str:
    image = f'<img class="{kind}" alt="{kind}" src="{_data_url(encode_png(picture))}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _text(line: str) -> str:
    return html.escape(line).replace("{", "&#123;")  # which Gradio would take for a template
