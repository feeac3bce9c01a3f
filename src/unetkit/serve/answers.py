"""The answers of the service, and the choice of their format."""

import io
from enum import StrEnum

import numpy as np
from fastapi import Response
from pydantic import BaseModel, Field

from unetkit.data.rle import encode_rle
from unetkit.plots.images import encode_png
from unetkit.prediction.predictor import Prediction


class Format(StrEnum):
    """Format of the answer to an image."""

    PNG = "png"
    NPY = "npy"
    RLE = "rle"


# Types of the header Accept; the first of each format is the type of the answer.
MEDIA_TYPES = {
    "image/png": Format.PNG,
    "application/x-npy": Format.NPY,
    "application/json": Format.RLE,
    "application/octet-stream": Format.NPY,
    "image/*": Format.PNG,
    "*/*": Format.PNG,
}


class Run(BaseModel):
    """The pixels of one class or label."""

    name: str = Field(description="Name of the class or label.")
    rle: str = Field(description='Pairs "start length" down the columns, counted from 1, as on Kaggle; "" for none.')


class RunLengths(BaseModel):
    """The mask as run-length codes."""

    height: int = Field(description="Height of the image in pixels.")
    width: int = Field(description="Width of the image in pixels.")
    masks: list[Run] = Field(description="The foreground; each class but the background; or each label.")


class Problem(BaseModel):
    """Why a request is refused."""

    detail: str = Field(description="What is wrong and what to do about it, in one line.")


class Health(BaseModel):
    """The state of the service, and what its network takes."""

    status: str = Field(description='"ok".')
    model: str = Field(description="Name of the file.")
    input: str = Field(description="Images it takes: uint8 for 8-bit ones, float32 for 16-bit and float ones.")
    channels: int = Field(description="Channels of these images; grey ones are taken where it is 3, and RGB where 1.")
    threshold: float = Field(description="Probability above which a pixel is foreground.")
    class_names: list[str] = Field(description="Names of class 0, 1, ..., or of the labels; empty if not known.")
    requests: int = Field(description="Images that are being predicted or wait.")


def format_of(accept: str) -> Format | None:
    """Return the format that a header `Accept` prefers; None if it takes none of them."""
    wanted = []
    for part in accept.split(","):
        media_type, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        wanted.append((_number(weight), media_type))
    for share, media_type in sorted(wanted, key=lambda pair: -pair[0]):  # stable: the first of equals
        if share > 0 and media_type in MEDIA_TYPES:
            return MEDIA_TYPES[media_type]
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def answer(prediction: Prediction, form: Format, names: list[str], *, is_multilabel: bool) -> Response:
    """Return a prediction in a format.

    Args:
        prediction: The prediction of an image.
        form: PNG: 0 and 255, class indices, or labels as bits. NPY: probabilities float16 (H, W) or (H, W, C). RLE:
            `RunLengths`.
        names: Names of class 0, 1, ..., or of the labels, as far as they are known.
        is_multilabel: Whether the mask holds labels as bits.
    """
    if form is Format.RLE:
        lengths = run_lengths(prediction, names, is_multilabel=is_multilabel)
        return Response(lengths.model_dump_json(), media_type="application/json")
    if form is Format.PNG:
        scale = np.uint8(255 if prediction.is_binary and not is_multilabel else 1)
        return Response(encode_png(prediction.mask * scale), media_type="image/png")
    probability = prediction.probability
    values = probability if probability.ndim == 2 else np.moveaxis(probability, 0, -1)
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values, np.float16))
    return Response(stream.getvalue(), media_type="application/x-npy")


def run_lengths(prediction: Prediction, names: list[str], *, is_multilabel: bool) -> RunLengths:
    """Return the mask of each class but the background, or of each label, as run-length code."""
    mask, probability = prediction.mask, prediction.probability
    count = 1 if probability.ndim == 2 else len(probability)
    if is_multilabel:
        parts = {label: mask >> label & 1 for label in range(count)}
    else:
        parts = {label: mask == label for label in range(1, max(count, 2))}
    masks = [
        Run(name=names[label] if label < len(names) else f"class {label}", rle=encode_rle(part))
        for label, part in parts.items()
    ]
    return RunLengths(height=mask.shape[0], width=mask.shape[1], masks=masks)
