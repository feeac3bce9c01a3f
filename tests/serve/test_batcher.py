"""Images that wait at the same time are computed together; errors and the end of the service reach each of them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unetkit.errors import UserError
from unetkit.serve.batcher import Batcher

Array = NDArray[Any]


def image(value: int, side: int = 4) -> Array:
    return np.full((1, 1, side, side), value, np.uint8)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Network:
    """Doubles values, and waits for `go` before its first batch."""

    def __init__(self) -> None:
        self.go, self.begun = Event(), Event()
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, images: Array) -> Array:
        self.begun.set()
        assert self.go.wait(20)
        self.batches.append(images.shape)
        if 13 in images:
            raise ArithmeticError("13")
        return images.astype(np.float32) * 2


def test_what_waits_is_computed_in_batches_of_one_shape_and_each_gets_its_own() -> None:
    network = Network()
    batcher = Batcher(network, most=4, most_pixels=1000)
    with ThreadPoolExecutor(20) as pool, batcher.running():
        first = pool.submit(batcher, image(1))
        assert network.begun.wait(20)
        others = [pool.submit(batcher, image(value, 4 + value % 2)) for value in range(2, 12)]
        until(lambda: len(batcher._waiting) == len(others))
        network.go.set()
        for value, future in enumerate([first, *others], 1):
            np.testing.assert_array_equal(future.result(20), 2.0 * image(value, 4 + value % 2 if value > 1 else 4))
    assert sorted(network.batches[1:]) == [(1, 1, 4, 4), (1, 1, 5, 5), (4, 1, 4, 4), (4, 1, 5, 5)]


def test_a_batch_has_no_more_pixels_than_the_limit_but_at_least_one_image() -> None:
    network = Network()
    batcher = Batcher(network, most=8, most_pixels=40)
    with ThreadPoolExecutor(20) as pool, batcher.running():
        futures = [pool.submit(batcher, image(1))]
        assert network.begun.wait(20)
        futures += [pool.submit(batcher, image(2, side)) for side in (4, 4, 4, 9, 9)]
        until(lambda: len(batcher._waiting) == 5)
        network.go.set()
        for future in futures:
            future.result(20)
    assert sorted(network.batches[1:]) == [(1, 1, 4, 4), (1, 1, 9, 9), (1, 1, 9, 9), (2, 1, 4, 4)]


def test_an_error_is_that_of_its_batch_and_the_next_one_is_computed() -> None:
    network = Network()
    network.go.set()
    batcher = Batcher(network, most=1, most_pixels=1000)
    with batcher.running():
        with pytest.raises(ArithmeticError, match="13"):
            batcher(image(13))
        np.testing.assert_array_equal(batcher(image(3)), 2.0 * image(3))


def test_the_end_of_the_service_reaches_who_waits_and_who_comes_later() -> None:
    network = Network()
    batcher = Batcher(network, most=1, most_pixels=1000)
    with ThreadPoolExecutor(3) as pool:
        with batcher.running():
            first = pool.submit(batcher, image(1))
            assert network.begun.wait(20)
            second = pool.submit(batcher, image(2))
            until(lambda: len(batcher._waiting) == 1)
            closing = pool.submit(network.go.wait, 20)
            batcher._is_open = False  # as the context does before it waits for the thread
            network.go.set()
            closing.result(20)
        np.testing.assert_array_equal(first.result(20), 2.0 * image(1))
        with pytest.raises(UserError, match="the service is being stopped; ask again later"):
            second.result(20)
    with pytest.raises(UserError, match="is being stopped"):
        batcher(image(1))
