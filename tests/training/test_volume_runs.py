"""Training on volumes: the same road as for images, from files to a report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Unetkit
from interrupted import stop
from training_runs import QUIET, composed, weights
from volume_files import SIZE, ellipsoid, nifti, write_ellipsoids, write_nifti

from unetkit.data import DeviceAugmentation
from unetkit.data.types import SampleKey
from unetkit.errors import UserError
from unetkit.training.build import prepare_data
from unetkit.training.records import Summary, spacing_line
from unetkit.training.run import train

NETWORK = ["data=volumes", "model=unet_3d", "model.channels=[2,4]"]
SMALL = [*NETWORK, "data.patch_size=[16,24,24]", *QUIET, "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipsoids(tmp_path_factory.mktemp("ellipsoids"), 4)


def places(files: Path, cache: Path, run_dir: Path) -> list[str]:
    return [f"data.root={files}", f"data.cache_dir={cache}", f"run_dir={run_dir}"]


def run(run_dir: Path, files: Path, cache: Path, *overrides: str) -> Summary:
    return train(composed(*SMALL, *places(files, cache, run_dir), *overrides))


def test_volumes_are_trained_on_in_patches_and_scored_whole(files: Path, cache: Path, tmp_path: Path) -> None:
    summary = run(tmp_path, files, cache)
    assert (summary["data"]["train"], summary["data"]["val"]) == (3, 1)
    assert summary["steps"] == 2 * -(-3 * (24 * 32 * 32 // (16 * 24 * 24)) // 2)  # as many patches as fill a volume
    assert 0 <= summary["val/dice"] <= 1
    assert 0 <= summary["val/surface_dice"] <= 1
    for picture in ("training_pairs.png", "predictions.png", "learning_curves.png"):
        assert (tmp_path / "pictures" / picture).exists()


@pytest.mark.slow
def test_resuming_on_volumes_goes_on_exactly(files: Path, cache: Path, tmp_path: Path) -> None:
    keys = ["data.crops_per_image=2", "data.patch_size=[16,16,16]"]
    run(tmp_path / "whole", files, cache, *keys)
    interrupted = stop(composed(*SMALL, *places(files, cache, tmp_path / "part"), *keys), epoch=0)
    run(tmp_path / "resumed", files, cache, *keys, f"checkpoint={interrupted}")
    whole, resumed = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "resumed"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_a_patch_depends_on_seed_epoch_volume_and_number_alone(files: Path, cache: Path, tmp_path: Path) -> None:
    first, second = (
        prepare_data(composed(*SMALL, *places(files, cache, tmp_path))).dataset("train", augment=True) for _ in range(2)
    )
    second[SampleKey(0, 1)]  # another one before
    for key in (SampleKey(0, 0), SampleKey(7, 5)):
        np.testing.assert_array_equal(first[key]["image"], second[key]["image"])
    assert not (first[SampleKey(0, 0)]["image"] == first[SampleKey(1, 0)]["image"]).all()
    assert not (first[SampleKey(0, 0)]["image"] == first[SampleKey(0, 1)]["image"]).all()


def test_patches_are_on_foreground_as_often_as_asked_for(files: Path, cache: Path, tmp_path: Path) -> None:
    middles = {}
    for share in (0, 1):
        keys = ["data.patch_size=[4,4,4]", f"data.foreground_crops={share}", "augment=none"]
        cfg = composed(*SMALL, *places(files, cache, tmp_path), *keys)
        dataset = prepare_data(cfg).dataset("train", augment=True)
        masks = [dataset[number]["mask"] for number in range(0, len(dataset), 10)]
        assert {mask.shape for mask in masks} == {(4, 4, 4)}
        middles[share] = np.mean([mask[2, 2, 2] for mask in masks])
    assert middles[1] == 1
    assert middles[0] < 0.4


def test_a_volume_and_its_mask_are_flipped_and_deformed_alike() -> None:
    mask = ellipsoid(0)[1]
    image = (200 * mask)[..., None]
    augmentation = DeviceAugmentation(3, displacement_px=4.0, elastic_p=1.0)
    seen = [augmentation(image, mask, epoch, 0) for epoch in range(24)]
    for moved, labels in seen:
        assert moved.shape == image.shape
        assert ((moved[..., 0] > 100) == (labels > 0)).mean() > 0.99
        assert 0.6 < labels.sum() / mask.sum() < 1.6
    assert not (seen[0][1] == seen[1][1]).all()
    np.testing.assert_array_equal(augmentation(image, mask, 5, 0)[0], seen[5][0])  # it depends on the counters alone
    only_flips = DeviceAugmentation(3, elastic_p=0.0)
    flips = [only_flips(image, mask, epoch, 0)[1] for epoch in range(90)]
    wanted = [
        np.flip(mask, axes) for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    ]  # each of them, and nothing else
    assert {next(i for i, flip in enumerate(wanted) if (flip == found).all()) for found in flips} == set(range(8))


def test_differing_spacings_are_told(files: Path, cache: Path, tmp_path: Path) -> None:
    root = write_ellipsoids(tmp_path / "mixed", 2)
    for folder in ("imagesTr", "labelsTr"):
        for path in sorted((root / folder).iterdir())[:1]:
            nifti(np.zeros(SIZE[::-1], np.int16) + (folder == "labelsTr"), np.diag([2, 2, 5, 1])).to_filename(path)
    cfg = composed(*SMALL, *places(root, cache, tmp_path / "run"))
    line = spacing_line(prepare_data(cfg))
    assert "from [2.5,1,1] to [5,2,2] mm" in line
    assert "data.spacing=[3.75,1.5,1.5]" in line
    assert spacing_line(prepare_data(composed(*SMALL, *places(files, cache, tmp_path / "run")))) == ""


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["model=unet_small"], "data=volumes holds volumes, but the network is for images; add model=unet_3d"),
        (["augment=strong"], "augment deforms images with albumentations, but the data are volumes"),
        (["loss=weighted_bce"], "loss=weighted_bce weighs borders of images, but the data are volumes"),
        (["data.patch_size=[24,24]"], r"data.patch_size=\[24,24\] has 2 sides, but the images have 3 dimensions"),
        (["augment.interpolation=bicubic"], "augment.interpolation=bicubic is for images"),
        (["data.resize=0.5"], r"data.resize is for images, but the data are volumes; set data.spacing="),
        (["metrics.extra=[v_rand]"], "metrics.extra=v_rand is a score of images, but the data are volumes"),
    ],
)
def test_what_makes_no_sense_with_volumes_is_refused(
    typed: list[str], message: str, files: Path, cache: Path, tmp_path: Path
) -> None:
    network = [] if "model=unet_small" in typed else ["model=unet_3d", "model.channels=[2,4]"]
    with pytest.raises(UserError, match=message):
        train(composed("data=volumes", *network, *places(files, cache, tmp_path), *QUIET, *typed))


@pytest.mark.slow
def test_nifti_goes_from_files_to_masks_a_report_and_onnx(tmp_path: Path, unetkit: Unetkit) -> None:
    root, out, cache = write_ellipsoids(tmp_path / "data", 8), tmp_path / "run", tmp_path / "cache"
    keys = ["data.patch_size=[16,24,24]", "data.spacing=[1.25,1,1]", "trainer.max_epochs=6", "optimizer.lr=1e-2"]
    where = [f"data.root={root}", f"data.cache_dir={cache}", f"hydra.run.dir={out}", *QUIET]
    assert unetkit("train", "model=unet_3d", "data=volumes", "model.channels=[4,8]", *keys, *where).status == 0
    image, mask = ellipsoid(99)
    write_nifti(tmp_path / "new" / "a.nii.gz", image)
    typed = [f"input={tmp_path / 'new' / 'a.nii.gz'}", f"output={tmp_path / 'predictions'}", "device=cpu"]
    assert unetkit("predict", f"checkpoint={out}", *typed).status == 0
    predicted = np.asarray(nifti.from_filename(tmp_path / "predictions" / "masks" / "a.nii.gz").dataobj)
    overlap = 2 * (predicted.transpose(2, 1, 0)[:, ::-1] * mask).sum() / (predicted.sum() + mask.sum())
    assert overlap > 0.85
    evaluation = [f"output={tmp_path / 'evaluation'}", f"cache_dir={cache}", "bootstrap=100", "device=cpu"]
    assert unetkit("evaluate", f"checkpoint={out}", *evaluation).status == 0
    with (tmp_path / "evaluation" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["dice"]) > 0.85 and float(row["surface_dice"]) > 0.85 for row in rows)
    assert all(float(row["hausdorff95"]) <= 5 for row in rows)  # mm; slices are 2.5 mm thick
    assert {int(row["pixels"]) for row in rows} == {24 * 32 * 32}  # of the files, and not of the working spacing
    assert (tmp_path / "evaluation" / "report.html").exists()
    assert json.loads((out / "summary.json").read_text())["val/dice"] > 0.85
    done = unetkit("export", f"checkpoint={out}", f"output={tmp_path / 'net.onnx'}")
    assert done.status == 0
    assert "resampling is not part of the file" in done.stdout
