"""Names that are no UTF-8, names as long as they can be and links in a circle end no command."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Unetkit, WritePairs

RNG = np.random.default_rng(0)
IMAGES = {str(number): RNG.integers(0, 255, (40, 40)).astype(np.uint8) for number in range(8)}
MASKS = {name: np.uint8(255) * (image > 128) for name, image in IMAGES.items()}
ODD = [b"caf\xe9", b"\xff\xfe{x}%s", b"x" * 251]  # Latin-1, no text at all, 255 bytes with the suffix

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file systems of other systems refuse such names")


@pytest.fixture
def data(tmp_path: Path, write_pairs: WritePairs) -> Path:
    """Pairs, three of which have an odd name."""
    root = write_pairs(tmp_path / "data", IMAGES, MASKS)
    for old, new in zip("012", ODD, strict=True):
        for folder in ("images", "masks"):
            place = root / folder
            (place / f"{old}.png").rename(place / f"{os.fsdecode(new)}.png")
    return root


def test_predict_and_doctor_take_names_that_are_no_text(
    data: Path, checkpoint: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    (data / "images" / "7.png").unlink()
    (data / "images" / "7.png").symlink_to("7.png")
    out = tmp_path / "out"
    done = unetkit("predict", f"checkpoint={checkpoint}", f"input={data}", f"output={out}", f"submission={out}/s.csv")
    assert done.status == 1  # of the link that leads to itself
    assert "left out: " in done.stderr
    assert "7.png can't be read" in done.stderr
    assert {os.fsdecode(name) + ".png" for name in ODD} < {path.name for path in (out / "masks").iterdir()}
    table = (out / "s.csv").read_text(encoding="utf-8")
    assert r"caf\xe9," in table
    (data / "masks" / "3.png").unlink()
    done = unetkit("doctor", f"data.root={data}", f"output={out}")
    assert done.status == 1
    assert "Traceback" not in done.stderr
    assert "3.png" in (out / "report.txt").read_text(encoding="utf-8")
    assert (out / "contact_sheet.png").stat().st_size > 1000


@pytest.mark.slow
def test_training_and_evaluation_take_names_that_are_no_text(data: Path, tmp_path: Path, unetkit: Unetkit) -> None:
    place = tmp_path / os.fsdecode(b"dat\xe9")
    data.rename(place)
    small = ["model=plain_small", "model.channels=[4,8]", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    own = ["data=folder", f"data.root={place}", f"data.cache_dir={tmp_path / 'cache'}"]
    done = unetkit("train", *own, *small, f"hydra.run.dir={tmp_path / 'run'}", "trainer.enable_progress_bar=false")
    assert done.status == 0, done.stderr
    assert r"caf\xe9," in (tmp_path / "run" / "split.csv").read_text(encoding="utf-8")
    scored = tmp_path / "scored"
    done = unetkit("evaluate", f"checkpoint={tmp_path / 'run'}", "part=all", "bootstrap=100", f"output={scored}")
    assert done.status == 0, done.stderr
    assert r"caf\xe9," in (scored / "scores.csv").read_text(encoding="utf-8")
    done = unetkit("doctor", f"data.root={place}", f"output={tmp_path / 'doctor'}")
    assert done.status == 0, done.stderr
    assert (tmp_path / "doctor" / "experiment" / "my_data.yaml").exists()
