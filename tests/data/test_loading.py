"""Loading says where its time goes; what is found in all pixels is found in one pass."""

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from unetkit.data.loading_times import LoadingTimes
from unetkit.data.preprocessing import drop_equal_channels, mean_and_std


class Worker(Dataset[int]):
    """Says that it has worked for 10 ms on each item, of which a fifth was decoding."""

    def __init__(self, times: LoadingTimes) -> None:
        self.times = times

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        self.times.add("decode", 0.002)
        self.times.add("augment", 0.008)
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_the_wait_is_divided_as_the_work_of_all_processes_that_load(workers: int) -> None:
    times = LoadingTimes()
    assert len(list(DataLoader(Worker(times), num_workers=workers))) == 8
    times.add("transfer", 0.01)
    shares = times.shares(1.0)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["transfer"] == pytest.approx(0.01)  # what this process did takes its own time
    if workers:  # the rest is the others'
        assert shares["augment"] / shares["decode"] == pytest.approx(4)
    else:  # or the loader's own
        assert shares["augment"] == pytest.approx(8 * 0.008)
    assert sum(times.shares(0.001).values()) == pytest.approx(0.001)  # most of it was done ahead


def test_mean_and_deviation_are_those_of_all_pixels() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(low, 256, (*size, 3), np.uint8) for low, size in ((0, (7, 5)), (90, (3, 11)))]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64) / 255
    mean, std = mean_and_std(images)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-13)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-12)
    assert mean_and_std([image.reshape(-1, 3) for image in images]) == (mean, std)  # pixels with data only


def test_an_image_whose_first_row_alone_is_grey_keeps_its_colours() -> None:
    image = np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 3, axis=2)
    assert drop_equal_channels(image).shape == (3, 4, 1)
    image[2, 3, 1] = 200
    assert drop_equal_channels(image).shape == (3, 4, 3)
