"""The doctor says that files are volumes, with the command that trains on them."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import segyio
from conftest import Unetkit
from volume_files import ellipsoid, write_ellipsoids, write_stack

WANTED = "train model=unet_3d data=volumes data.root="


@pytest.mark.parametrize("kind", ["nii.gz", "npy", "tif", "sgy"])
def test_each_kind_of_volume_is_recognised(kind: str, tmp_path: Path, unetkit: Unetkit) -> None:
    root = tmp_path / "data"
    if kind == "nii.gz":
        write_ellipsoids(root, 2)
    for seed in range(2 if kind != "nii.gz" else 0):
        for name, volume in zip(("images", "masks"), ellipsoid(seed), strict=True):
            (root / name).mkdir(parents=True, exist_ok=True)
            path = root / name / f"{seed}.{kind}"
            if kind == "npy":
                np.save(path, volume)
            elif kind == "tif":
                write_stack(path, volume, "", 1.0)
            else:
                segyio.tools.from_array3D(str(path), volume.astype(np.float32), format=5)
    done = unetkit("doctor", f"data.root={root}", f"output={tmp_path / 'out'}")
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if WANTED in line)
    assert f"data.root={root}" in shlex.split(line.split("`")[1] if "`" in line else line)


def test_images_are_no_volumes(tmp_path: Path, unetkit: Unetkit) -> None:
    for name, volume in zip(("images", "masks"), ellipsoid(0), strict=True):
        (tmp_path / name).mkdir()
        for number, plane in enumerate(volume[:4]):
            np.save(tmp_path / name / f"{number}.npy", plane)
    assert WANTED not in unetkit("doctor", f"data.root={tmp_path}", f"output={tmp_path / 'out'}").stdout


def test_one_volume_is_too_few_to_train_on_volumes(tmp_path: Path, unetkit: Unetkit) -> None:
    for name, volume in zip(("train-volume", "train-labels"), ellipsoid(0), strict=True):
        write_stack(tmp_path / f"{name}.tif", volume, "", 1.0)
    done = unetkit("doctor", f"data.root={tmp_path}", f"output={tmp_path / 'out'}")
    assert "set data.stacks=true" in done.stdout
    assert WANTED not in done.stdout
