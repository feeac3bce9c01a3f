"""An exported network that answers images, within limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from fastapi import Response

from unetkit.checkpoints.exported import ExportedNetwork, ExportedPredictor
from unetkit.data.decode import decode_layers
from unetkit.data.files import FileRef
from unetkit.data.headers import NPY
from unetkit.data.layers import Layers
from unetkit.data.limits import FIX, check_announced, decoding_at_most
from unetkit.data.medical import is_medical
from unetkit.errors import UserError, enough_memory
from unetkit.models.outputs import check_threshold
from unetkit.serve.answers import Format, Health, answer
from unetkit.serve.batcher import Batcher

UPLOAD = "the upload"  # its name in errors


@dataclass(frozen=True)
class Limits:
    """The limits of a service.

    Attributes:
        upload_bytes: Largest request, in bytes.
        pixels: Largest image, in pixels.
        batch: Largest number of images of one size that are predicted at once.
        requests: Largest number of requests that are answered or wait at a time; more are refused.
    """

    upload_bytes: int
    pixels: int
    batch: int
    requests: int


@dataclass
class Service:
    """An exported network that answers images.

    Attributes:
        name: Name of the network's file.
        predictor: The predictor of that file.
        limits: Limits of requests, images and batches.
        requests: Number of requests that are answered or wait at present.
    """

    name: str
    predictor: ExportedPredictor
    limits: Limits
    requests: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        network = self.predictor.network
        assert isinstance(network, ExportedNetwork)  # narrows the type for mypy
        self._batcher = Batcher(network.run, self.limits.batch, self.predictor.tile**2)
        batched = ExportedNetwork(self._batcher, network.margin, self.predictor.stride)
        self._batched = replace(self.predictor, network=batched)
        self._classes = 2

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer until the context ends; begins with a small image, so that a file that can't run is known at once."""
        with self._batcher.running():
            side, preprocessing = 2 * self.predictor.stride, self.predictor.preprocessing
            found = self._batched.predict_prepared(np.zeros((side, side, preprocessing.channels), np.uint8))
            self._classes = 2 if found.is_binary or self.predictor.is_multilabel else len(found.probability)
            yield

    def answer(self, content: bytes, form: Format, threshold: float | None) -> Response:
        """Return the prediction of an image; called from many threads.

        Args:
            content: The image as a file holds it.
            form: Format of the answer.
            threshold: Probability above which a pixel is foreground; None for the network's own.

        Raises:
            UserError: If it can't be decoded, is not of the kind that the network takes, or exceeds a limit.
        """
        predictor = self._batched
        with (
            decoding_at_most(self.limits.pixels, "max_pixels"),
            enough_memory(UPLOAD, "send a smaller image, or later"),
        ):
            image = decode(content).image(predictor.preprocessing.channels)
            pixels = predictor.preprocessing.to_uint8(image, UPLOAD)
            prediction = (predictor if threshold is None else self._at(threshold)).predict_prepared(pixels)
            return answer(prediction, form, predictor.class_names, is_multilabel=predictor.is_multilabel)

    def _at(self, threshold: float) -> ExportedPredictor:
        check_threshold(threshold, self._classes)
        return replace(self._batched, threshold=threshold)

    def health(self) -> Health:
        """Return the state of the service."""
        preprocessing = self.predictor.preprocessing
        return Health(
            status="ok",
            model=self.name,
            input="uint8" if preprocessing.value_range is None else "float32",
            channels=preprocessing.channels,
            threshold=self.predictor.threshold,
            class_names=self.predictor.class_names,
            requests=self.requests,
        )


def decode(content: bytes) -> Layers:
    """Decode an upload as the file of an image is decoded, by its content.

    Raises:
        UserError: If it can't be decoded, or exceeds a limit.
    """
    ref = FileRef(Path(f"{UPLOAD}.npy" if content.startswith(NPY) else UPLOAD))
    try:
        if not is_medical(content):  # whose decoder checks its header itself
            check_announced(content, UPLOAD)
        return decode_layers(content, ref)
    except UserError as error:  # whose advice may be about a file of the user's own
        fix = "send another image" if error.fix == FIX else error.fix
        raise UserError(UPLOAD, error.problem, fix) from (error.__cause__ or error)
