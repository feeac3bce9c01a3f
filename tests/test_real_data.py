"""TGS Salt and ISBI 2012 themselves, where they are at hand: in UNETKIT_DATA or beside the clone."""

import os
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from unetkit.data.mosaic import find_mosaics
from unetkit.training.build import prepare_data

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("UNETKIT_DATA", ROOT.parent / "shared" / "data"))


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"needs {name} in UNETKIT_DATA")


@needs("tgs-salt")
def test_tgs_salt_as_downloaded(tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        options = ["data=tgs_salt", f"data.root={DATA / 'tgs-salt'}", f"data.cache_dir={tmp_path}"]
        cfg = compose("train", [*options, "data.split=kfold", "run_dir=unused"])
    data = prepare_data(cfg)  # which also holds each mask against its run-length code
    facts = data.describe()
    assert (facts["train"], facts["val"]) == (2560, 640)
    assert 0.38 < facts["empty_masks"] < 0.4  # 39 % of the whole 4,000
    assert (data.channels, data.num_classes) == (1, 1)
    assert set(data.prepared.whole.images.shapes) == {(101, 101, 1)}
    assert set(data.found.masks.shapes) == {(101, 101)}
    assert max(data.found.masks[i].max() for i in range(50)) == 1


@needs("tgs-salt")
def test_tgs_tiles_of_one_mosaic_stay_together(tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        options = ["data=tgs_salt", f"data.root={DATA / 'tgs-salt'}", f"data.cache_dir={tmp_path}"]
        data = prepare_data(compose("train", [*options, "data.split=mosaic", "run_dir=unused"]))
    assert data.split.sides.count("val") == 640
    groups = find_mosaics((pair.id, data.prepared.whole.images[i]) for i, pair in enumerate(data.found.pairs))
    several = [np.flatnonzero(groups == group) for group in np.flatnonzero(np.bincount(groups) > 1)]
    assert 220 < sum(map(len, several)) < 350  # few of Kaggle's 22,000 neighbours are among these
    assert max(map(len, several)) < 10
    assert all(len({data.split.sides[i] for i in members}) == 1 for members in several)
    # Masks were not looked at, but are alike in a mosaic.
    spread = np.mean([np.ptp(data.found.coverage[members]) for members in several])
    shuffled = np.random.default_rng(0).permutation(data.found.coverage)
    assert spread < 0.7 * np.mean([np.ptp(shuffled[members]) for members in several])


@needs("isbi2012")
def test_isbi_2012(tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        options = ["data=isbi2012", f"data.root={DATA / 'isbi2012'}", f"data.cache_dir={tmp_path}"]
        cfg = compose("train", [*options, "run_dir=unused"])
    data = prepare_data(cfg)
    assert [pair.id for pair, side in zip(data.found.pairs, data.split.sides, strict=True) if side == "val"] == [
        "00", "01", "02", "03",
    ]  # fmt: skip
    assert 0.7 < data.describe()["foreground"] < 0.85  # cells are white, membranes cover 22 %
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 1, 256, 256)
