"""Training on volumes: the same road as for images, from files to scores."""

from pathlib import Path

import pytest
from training_runs import QUIET, composed
from volume_files import write_ellipsoids

from unetkit.errors import UserError
from unetkit.training.records import Summary
from unetkit.training.run import train

NETWORK = ["data=volumes", "model=unet_3d", "model.channels=[2,4]"]
SMALL = [*NETWORK, "data.patch_size=[16,24,24]", *QUIET, "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipsoids(tmp_path_factory.mktemp("ellipsoids"), 4)


def run(run_dir: Path, files: Path, cache: Path, *overrides: str) -> Summary:
    where = [f"data.root={files}", f"data.cache_dir={cache}", f"run_dir={run_dir}"]
    return train(composed(*SMALL, *where, *overrides))


def test_volumes_are_trained_on_and_scored(files: Path, cache: Path, tmp_path: Path) -> None:
    summary = run(tmp_path, files, cache)
    assert (summary["data"]["train"], summary["data"]["val"]) == (3, 1)
    assert 0 <= summary["val/dice"] <= 1
    for picture in ("training_pairs.png", "predictions.png", "learning_curves.png"):
        assert (tmp_path / "pictures" / picture).exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["model=unet_small"], "data=volumes holds volumes, but the network is for images; add model=unet_3d"),
        (["augment=strong"], "augment deforms images with albumentations, but the data are volumes"),
        (["loss=weighted_bce"], "loss=weighted_bce weighs borders of images, but the data are volumes"),
        (["data.patch_size=[24,24]"], r"data.patch_size=\[24,24\] has 2 sides, but the images have 3 dimensions"),
        (["augment.interpolation=bicubic"], "augment.interpolation=bicubic is for images"),
    ],
)
def test_what_makes_no_sense_with_volumes_is_refused(
    typed: list[str], message: str, files: Path, cache: Path, tmp_path: Path
) -> None:
    network = [] if "model=unet_small" in typed else ["model=unet_3d", "model.channels=[2,4]"]
    where = [f"data.root={files}", f"data.cache_dir={cache}", f"run_dir={tmp_path}", *QUIET]
    with pytest.raises(UserError, match=message):
        train(composed("data=volumes", *network, *where, *typed))
