"""Tiles cover an image, lie on the network's pooling grid, and blend into the prediction of the whole image."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.prediction.tiling import Array, blended_rows, cut, read_window


@pytest.mark.parametrize("overlap", [0, 8, 13])
@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("size", [1, 31, 32, 33, 47, 100, 229])
def test_tiles_cover_an_axis_on_the_grid_of_the_stride(size: int, stride: int, overlap: int) -> None:
    tiling = cut(size, 32, overlap, stride)
    total = torch.zeros(size)
    for start, weight in zip(tiling.starts, tiling.weights, strict=True):
        assert start % stride == 0
        total[start : start + tiling.side] += weight
    torch.testing.assert_close(total, torch.ones(size))
    assert tiling.side <= 32
    assert (size - tiling.side) % stride == 0  # so a network pads each tile as it pads the whole
    for a, b in zip(tiling.starts, tiling.starts[1:], strict=False):
        assert b - a <= tiling.side - overlap


def test_the_ends_of_inner_tiles_are_not_used() -> None:
    tiling = cut(100, 40, 16, 1)
    assert tiling.starts == [0, 24, 48, 60]
    first, second = tiling.weights[:2]
    assert first[0] == 1
    assert (first[-4:] == 0).all()
    assert (second[:4] == 0).all()
    assert first[24 + 8] == pytest.approx(1 - 0.5625)  # the middle of 24..39 is 31.5, the ramp is 8 wide


def test_a_tile_must_leave_room_beside_its_overlap() -> None:
    with pytest.raises(UserError, match="tile=32 is too small for overlap=24; give at least tile=56"):
        cut(100, 32, 24, 16)


@pytest.mark.parametrize("margin", [0, 3, 40])
def test_windows_are_mirrored_beyond_the_image(margin: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 27, 2))
    mirrored = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    window = read_window(image, (5, 9), (8, 11), margin)
    np.testing.assert_array_equal(window, mirrored[5 : 5 + 8 + 2 * margin, 9 : 9 + 11 + 2 * margin])


@pytest.mark.parametrize("shape", [(40, 40), (41, 120), (97, 50), (131, 133)])
def test_a_small_receptive_field_makes_tiles_seamless(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3, padding=1), nn.Upsample(scale_factor=2)
    )
    pad = nn.ReplicationPad2d((0, shape[1] % 2, 0, shape[0] % 2))

    def predict(window: Array) -> Tensor:
        x = torch.from_numpy(window)[None, None].float()
        y: Tensor = network(pad(x))[0, :, : x.shape[2], : x.shape[3]]
        return y

    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        rows = list(blended_rows(image, predict, tile=40, overlap=20, stride=2, margin=0))
        whole = predict(image)
    torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=0, atol=1e-5)


def test_rows_come_as_soon_as_their_tiles_are_read() -> None:
    class Watched:
        """An image that remembers the last row that was asked for."""

        shape, dtype, last = (400, 70), np.dtype(np.float32), 0

        def __getitem__(self, window: tuple[slice, ...]) -> Array:
            self.last = max(self.last, window[0].stop)
            return np.zeros((400, 70), np.float32)[window]

    image, top = Watched(), 0
    for rows in blended_rows(image, lambda window: torch.from_numpy(window)[None], 32, 8, 4, margin=0):
        assert image.last <= top + 32
        assert rows.shape[0::2] == (1, 70)
        top += rows.shape[1]
    assert top == 400
