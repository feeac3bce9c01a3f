"""Volumes are predicted in tiles, at the spacing of training, and masks have the formats and places of their files."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import segyio
import torch
from conftest import Array, Unetkit
from torch import Tensor, nn
from volume_files import AFFINE, SIZE, ellipsoid, write_nifti, write_stack

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.data.files import FileRef
from unetkit.data.volumes import read_volume
from unetkit.demo.demo_model import DemoModel
from unetkit.errors import UserError
from unetkit.models import UNet
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.tiling import blended_rows, cut

IMAGE, MASK = ellipsoid(0)
MODEL = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [2], "spatial_dims": 3}


class Bright(nn.Module):
    """A network for volumes that marks the voxels brighter than the middle of the range."""

    spatial_dims, num_downsamplings, margin = 3, 0, 0

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(9.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * (x - 0.5)


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    """A checkpoint that does the same: a convolution of the identity, then a head with a threshold."""
    network: Any = UNet(1, 1, [2], spatial_dims=3, norm="none")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for parameter in (weight for weight in network.parameters() if weight.ndim == 5):
            parameter[:, 0, *(side // 2 for side in parameter.shape[2:])] = 1
        network.head.bias.fill_(-0.5)
    preprocessing = Preprocessing(1, (-100.0, 200.0), patch_size=(8, 16, 16))
    save_weights(tmp_path / "bright.ckpt", Metadata(MODEL | {"norm": "none"}, preprocessing), network.state_dict())
    return tmp_path / "bright.ckpt"


def smooth(image: Array) -> Array:
    """Return the image without noise, so that brightness tells the mask."""
    return np.where(MASK > 0, 200, -100).astype(image.dtype)


def test_gaussian_weights_add_up_to_one_and_are_highest_in_the_middle() -> None:
    tiling = cut(50, 16, 8, 1, gaussian=True)
    total = torch.zeros(50)
    for start, weight in zip(tiling.starts, tiling.weights, strict=True):
        total[start : start + 16] += weight
    torch.testing.assert_close(total, torch.ones(50))
    inner = tiling.weights[2]
    assert all(a < b for a, b in pairwise(inner[:8].tolist()))


@pytest.mark.parametrize("shape", [(20, 24, 30), (10, 40, 18)])
def test_tiles_of_a_volume_give_what_the_whole_gives(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.MaxPool3d(2), nn.Conv3d(4, 2, 3, padding=1), nn.Upsample(scale_factor=2)
    )
    volume = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)

    def predict(window: Array) -> Tensor:
        with torch.no_grad():
            y: Tensor = network(torch.from_numpy(window).movedim(-1, 0)[None])[0]
        return y

    slabs = list(blended_rows(volume, predict, (18, 24, 24), (16, 20, 20), 2, 0))  # they share more than it sees
    assert all(slab.shape[0] == 2 and slab.shape[2:] == shape[1:] for slab in slabs)
    torch.testing.assert_close(torch.cat(slabs, 1), predict(volume), rtol=0, atol=1e-5)
    blended = torch.cat(list(blended_rows(volume, predict, (8, 12, 8), (4, 6, 4), 2, 0, gaussian=True)), 1)
    abrupt = torch.cat(list(blended_rows(volume, predict, (8, 12, 8), (0, 0, 0), 2, 0)), 1)
    wrong, rough = ((x - predict(volume)).abs().mean() for x in (blended, abrupt))
    assert wrong < rough / 2


def test_a_volume_of_another_spacing_is_resampled_and_its_mask_is_not() -> None:
    predictor = Predictor(Bright(), Preprocessing(1, (-100.0, 200.0), spacing=(1.0, 1.0, 1.0), patch_size=(16, 16, 16)))
    values = smooth(IMAGE)[..., None]
    mask = predictor.predict_volume(values, (2.5, 1.0, 1.0)).mask
    assert mask.shape == SIZE
    assert (mask == MASK).mean() > 0.99
    np.testing.assert_array_equal(predictor(values).mask, MASK)  # without a spacing: as it is


def test_each_format_comes_back_as_itself(bright: Path, tmp_path: Path, unetkit: Unetkit) -> None:
    folder, image = tmp_path / "in", smooth(IMAGE)
    turned = AFFINE.copy()
    turned[0] = [-1, 0, 0, 7]  # the first axis leads to the left
    write_nifti(folder / "a.nii.gz", image[:, :, ::-1], turned)
    np.save(folder / "b.npy", image)
    write_stack(folder / "c.tif", image, "ImageJ=1.53t\nunit=mm\nspacing=2.5\n", 1.0)
    cube = np.ascontiguousarray(image.transpose(0, 2, 1).astype(np.float32))
    segyio.tools.from_array3D(str(folder / "d.sgy"), cube, format=5)
    done = unetkit("predict", f"checkpoint={bright}", f"input={folder}", f"output={tmp_path / 'out'}", "device=cpu")
    assert done.status == 0, done.stderr
    masks = tmp_path / "out" / "masks"
    assert sorted(path.name for path in masks.iterdir()) == ["a.nii.gz", "b.npy", "c.tif", "d.sgy"]
    for name, one in (("a.nii.gz", 1), ("b.npy", 255), ("c.tif", 255), ("d.sgy", 1)):
        result = read_volume(FileRef(masks / name))
        np.testing.assert_array_equal(result.values[..., 0], MASK * one, name)
        assert result.spacing == read_volume(FileRef(folder / name)).spacing
    images = [nibabel.load(path / "a.nii.gz") for path in (folder, masks)]
    np.testing.assert_allclose(images[1].affine, images[0].affine)  # type: ignore[attr-defined]
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 4


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["tta=rotations"], "tta=rotations is for images, but the network is for volumes"),
        (["output=OUT.nii.gz"], "out.nii.gz must end in .npy, as the mask of"),
        (["submission=OUT.csv"], "is made of images, but these are volumes"),
    ],
)
def test_what_is_for_images_is_refused(
    typed: list[str], message: str, bright: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    np.save(tmp_path / "a.npy", IMAGE)
    typed = [word.replace("OUT", str(tmp_path / "out")) for word in typed]
    done = unetkit("predict", f"checkpoint={bright}", f"input={tmp_path / 'a.npy'}", "device=cpu", *typed)
    assert done.status == 1
    assert message in done.stderr


def test_a_network_for_volumes_is_exported_in_full_precision_only(
    bright: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    write_nifti(tmp_path / "scans" / "a.nii.gz", IMAGE)
    typed = [f"checkpoint={bright}", f"output={tmp_path / 'a.onnx'}", f"images={tmp_path / 'scans'}"]
    said = "format=onnx precision=fp16 is for images, but the network is for volumes; use format=onnx precision=fp32"
    assert unetkit("export", *typed, "precision=fp16") == (1, "", f"error: {said}\n")


def test_the_mask_of_one_volume_is_written_where_output_says(
    bright: Path, checkpoint: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    path, target = write_nifti(tmp_path / "a.nii", smooth(IMAGE)), tmp_path / "mask.nii.gz"
    typed = [f"input={path}", f"output={target}", "device=cpu"]
    assert unetkit("predict", f"checkpoint={bright}", *typed).status == 0
    np.testing.assert_array_equal(read_volume(FileRef(target)).values[..., 0], MASK)
    target.unlink()
    np.save(tmp_path / "b.npy", IMAGE[0])
    done = unetkit(
        "predict", f"checkpoint={checkpoint}", f"input={tmp_path / 'b.npy'}", f"output={target}", "device=cpu"
    )
    assert "is the file of a volume's mask, but the network is for images" in done.stderr


def test_a_checkpoint_with_a_tiny_spacing_takes_no_memory() -> None:
    predictor = Predictor(Bright(), Preprocessing(1, (-100.0, 200.0), spacing=(1e-3, 1e-3, 1e-3)))
    with pytest.raises(UserError, match=r"the volume at the spacing of training has .* voxels, more than"):
        predictor.predict_volume(IMAGE[..., None], (1.0, 1.0, 1.0))


def test_the_page_of_the_demo_refuses_a_network_for_volumes(bright: Path) -> None:
    with pytest.raises(UserError, match="is a network for volumes, and the page shows images"):
        DemoModel.load(str(bright), "cpu")


def test_an_image_is_no_volume(bright: Path, tmp_path: Path, unetkit: Unetkit) -> None:
    np.save(tmp_path / "a.npy", IMAGE[0])
    done = unetkit("predict", f"checkpoint={bright}", f"input={tmp_path / 'a.npy'}", f"output={tmp_path}", "device=cpu")
    assert done.status == 1
    assert "save it as numbers of shape (D, H, W)" in done.stderr
