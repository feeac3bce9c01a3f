"""Run images of one size together, which wait at the same time and come from different requests."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetkit.checkpoints.formats import PredictArray
from unetkit.errors import UserError

Array = NDArray[Any]
STOPPED = UserError("the service", "is being stopped", "ask again later")


class Batcher:
    """Runs a network in one thread, on as many waiting images of one shape as there are, up to a limit.

    No image waits for others to come: while one batch is computed, the next one fills. The tiles of a large image are
    asked for one by one, so that small images take their turns between them.

    Args:
        run: From images (B, channels, H, W) to probabilities (B, 1 or C, H, W).
        most: Largest number of images in a batch.
        most_pixels: Largest number of pixels of all images in a batch; a single image may have more.
    """

    def __init__(self, run: PredictArray, most: int, most_pixels: int) -> None:
        self._run, self._most, self._most_pixels = run, most, most_pixels
        self._waiting: dict[Future[Array], Array] = {}  # in the order in which they came
        self._changed = Condition()
        self._is_open = False

    def __call__(self, images: Array) -> Array:
        """Return the probabilities of an image (1, channels, H, W); called from many threads.

        Raises:
            UserError: If the service stops before it is the image's turn.
        """
        future: Future[Array] = Future()
        with self._changed:
            if not self._is_open:
                raise STOPPED
            self._waiting[future] = images
            self._changed.notify()
        return future.result()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run what comes until the context ends; then what still waits gets an error."""
        thread = Thread(target=self._work, name="batches", daemon=True)
        self._is_open = True
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_open = False
                self._changed.notify()
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            images, futures = zip(*batch, strict=True)
            try:
                found = self._run(np.concatenate(images))
            except Exception as error:  # belongs to the requests, and the next ones may do
                for future in futures:
                    future.set_exception(error)
            else:
                for number, future in enumerate(futures):
                    future.set_result(found[number : number + 1])

    def _next(self) -> list[tuple[Array, Future[Array]]]:
        """Wait for images, and return the oldest with others of its shape; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            if not self._is_open:
                for future in self._waiting:
                    future.set_exception(STOPPED)
                self._waiting.clear()
                return []
            shape = next(iter(self._waiting.values())).shape
            most = max(min(self._most, self._most_pixels // (shape[-2] * shape[-1])), 1)
            fitting = [future for future, images in self._waiting.items() if images.shape == shape][:most]
            return [(self._waiting.pop(future), future) for future in fitting]
