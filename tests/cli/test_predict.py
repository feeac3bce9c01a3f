"""`unetkit predict`: what people type, and what they read at its end."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import segyio
import torch
from conftest import Unetkit, WriteImage
from hydra import compose, initialize_config_dir
from PIL import Image

from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.files import checkpoint_file, find_checkpoints
from unetkit.checkpoints.loading import load_ensemble
from unetkit.checkpoints.metadata import Metadata
from unetkit.cli import predict
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import UNet
from unetkit.paths import config_dir

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


@pytest.fixture
def predict_all() -> Callable[..., list[str]]:
    """The command's own function, in this process, given what would be typed."""

    def call(*arguments: str) -> Any:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return predict.predict_all(compose("predict", list(arguments)))

    return call


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder of two checkpoints of fresh networks, one per fold."""
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}
    for fold in (0, 1):
        torch.manual_seed(fold)
        (tmp_path / f"fold{fold}").mkdir()
        metadata = Metadata(model, Preprocessing(1, None, (0.5,), (0.3,)))
        save_weights(tmp_path / f"fold{fold}" / "last.ckpt", metadata, UNet(1, 1, [4, 8]).state_dict())
    return tmp_path


def test_folds_views_and_tiles_as_typed(
    checkpoints: Path, unetkit: Unetkit, write_image: WriteImage, tmp_path: Path
) -> None:
    image = RNG.integers(0, 255, (150, 90), np.uint8)
    write_image(tmp_path / "in" / "deep" / "a.png", image)
    write_image(tmp_path / "in" / "b.npy", image[:40].astype(np.float32))
    options = [f"checkpoint={tmp_path}/fold*/last.ckpt", f"input={tmp_path}/in/**/*", f"output={tmp_path}/out"]
    options += ["tta=d4", "tile=64", "overlap=16", "threshold=0.45", "write=[masks,probabilities]", "device=cpu"]
    done = unetkit("predict", *options, "value_range=[0,255]")
    assert done.status == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == f"wrote 2 masks to {tmp_path}/out/masks, 2 probabilities to {tmp_path}/out/probabilities"
    paths = sorted(checkpoints.glob("*/last.ckpt"))
    expected = load_ensemble(paths, tta="d4", tile=64, overlap=16)
    expected.threshold = 0.45
    for name, pixels in (("deep/a", image), ("b", image[:40])):
        prediction = expected(pixels)
        probability = np.load(tmp_path / "out" / "probabilities" / f"{name}.npy")
        np.testing.assert_allclose(probability, prediction.probability, atol=1e-3)
        mask = cv2.imread(str(tmp_path / "out" / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, prediction.mask * 255)


def test_files_that_can_not_be_read_are_named_at_the_end(
    checkpoints: Path, unetkit: Unetkit, write_image: WriteImage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(predict, "failures", [])
    write_image(tmp_path / "in" / "a.png", np.zeros((20, 20), np.uint8))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG no more")
    done = unetkit(
        "predict", f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={tmp_path}/in", f"output={tmp_path}/out"
    )
    assert done.status == 1
    assert done.stdout.startswith(f"wrote 1 masks to {tmp_path}/out/masks, 1 overlays")
    assert f"left out: {tmp_path}/in/broken.png" in done.stderr
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["a.png"]


def test_images_larger_than_the_limit_are_left_out_and_the_advice_works(
    checkpoints: Path, predict_all: Callable[..., list[str]], write_image: WriteImage, tmp_path: Path
) -> None:
    write_image(tmp_path / "in" / "a.png", np.zeros((20, 20), np.uint8))
    write_image(tmp_path / "in" / "b.png", np.zeros((20, 30), np.uint8))
    options = [f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={tmp_path}/in", f"output={tmp_path}/out"]
    (failed,) = predict_all(*options, "max_pixels=400")
    assert failed.endswith(
        "b.png has 30 x 20 pixels, more than 400 in all; cut it into tiles, save it as .npy, which is read by "
        "windows, or raise max_pixels=400"
    )
    assert predict_all(*options, "max_pixels=600") == []
    (tmp_path / "in" / "b.png").unlink()
    np.save(tmp_path / "in" / "b.npy", np.zeros((20, 30), np.uint8))
    assert predict_all(*options, "max_pixels=400") == []


@pytest.mark.slow
def test_a_stopped_program_leaves_whole_files(checkpoints: Path, write_image: WriteImage, tmp_path: Path) -> None:
    for i in range(3000):
        write_image(tmp_path / "in" / f"{i}.png", np.zeros((101, 101), np.uint8))
    options = [f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={tmp_path}/in", f"output={tmp_path}/out"]
    program = subprocess.Popen(
        [sys.executable, "scripts/predict.py", *options], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )  # fmt: skip
    while not list(tmp_path.glob("out/overlays/*.png")) and program.poll() is None:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 1
    assert errors.splitlines()[-1] == f"stopped; the files in {tmp_path}/out are whole"
    assert "Traceback" not in errors
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert 0 < len(files) < 6000
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None for path in files)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["checkpoint=null"], "checkpoint= is missing"),
        (["checkpoint=nowhere/*.ckpt"], r"checkpoint=nowhere/\*.ckpt matches no file"),
        (["write=[masks,pictures]"], r"write=\['masks', 'pictures'\] must be a list of masks, probabilities, overlays"),
        (["write=[]"], "write=.* must be a list"),
        (["mask_format=tiff"], "mask_format=tiff must be one of auto, png, palette, tif, cog, npy"),
        (["tile=0"], "tile=0 must be an integer of at least 1"),
        (["batch_size=true"], "batch_size=True must be an integer of at least 1"),
        (["batch_size=few"], "batch_size=few must be an integer of at least 1"),
        (["input=[]"], "input= is missing"),
        (["input=[nowhere]"], "input=nowhere does not exist; give an image"),
        (["threshold=50"], "threshold=50 must be a probability"),
        (["value_range=[3,1]"], r"value_range=\[3, 1\] must be auto, or two rising numbers"),
        (["value_range=wide"], "value_range=wide must be auto"),
        (["tta=both"], "tta=both must be one of none, flip, d4, rotations"),
        (["device=abacus"], "device=abacus must be auto, cpu"),
        (["output=/proc/none"], "output=/proc/none can't be written"),
        (["submission=a.ckpt"], "submission=a.ckpt must end in .csv"),
        (["submission=/tmp"], "submission=/tmp is a folder; give a file, as /tmp/submission.csv"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_named(
    options: list[str],
    said: str,
    checkpoints: Path,
    predict_all: Callable[..., list[str]],
    write_image: WriteImage,
    tmp_path: Path,
) -> None:
    write_image(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    good = [f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={tmp_path}/a.png", f"output={tmp_path}/out"]
    with pytest.raises(UserError, match=said):
        predict_all(*good, *options)


@pytest.mark.parametrize("folder", ["", "/images", "/masks"])
def test_true_masks_and_images_are_not_replaced(
    folder: str, checkpoints: Path, predict_all: Callable[..., list[str]], write_image: WriteImage, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for kind in ("images", "masks"):
        write_image(data / kind / "a.png", np.full((20, 20), 7, np.uint8))
    options = [f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={data}{folder}"]
    with pytest.raises(UserError, match=f"output={data} holds the images and a folder masks, .*; give another output"):
        predict_all(*options, f"output={data}")
    assert not (data / "overlays").exists()
    assert predict_all(*options, f"output={data}/predicted") == []
    np.testing.assert_array_equal(cv2.imread(str(data / "masks" / "a.png"), cv2.IMREAD_UNCHANGED), 7)


def test_a_sweep_predicts_for_each_value(
    checkpoints: Path, unetkit: Unetkit, write_image: WriteImage, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    options = [f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={tmp_path}/a.png", f"output={tmp_path}/${{tta}}"]
    options += ["tta=none,flip", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = unetkit("predict", "-m", *options)
    assert done.status == 0, done.stderr
    assert all((tmp_path / tta / "masks" / "a.png").exists() for tta in ("none", "flip"))


@pytest.mark.parametrize(
    "typed",
    [
        ["input=[A,B b]"],
        ["input=A", "input=B b"],  # what a shell makes of input={A,B b}
        ["A", "B b"],
        ["input=A/x.png", "A/é.png", "B b/x.png"],  # what some shells make of a pattern
        ["input=[A/*.png,'B b/x.png',A]"],
    ],
)
def test_several_inputs_keep_their_folders(
    typed: list[str],
    checkpoints: Path,
    unetkit: Unetkit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = {name: RNG.integers(0, 255, (20, 30), np.uint8) for name in ("A/x", "A/é", "B b/x")}
    for name, image in images.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"{name}.png")  # not OpenCV, which loses accents on Windows
    monkeypatch.chdir(tmp_path)
    done = unetkit("predict", f"checkpoint={checkpoints}/fold0/last.ckpt", "write=masks", "device=cpu", *typed)
    assert (done.status, done.stdout) == (0, "wrote 3 masks to predictions/masks\n"), done.stderr
    network = load_ensemble([checkpoints / "fold0" / "last.ckpt"])
    for name, image in images.items():
        mask = np.array(Image.open(tmp_path / "predictions" / "masks" / f"{name}.png"))
        np.testing.assert_array_equal(mask, network(image).mask * 255)


def test_checkpoints_that_a_shell_fills_in_are_averaged(
    checkpoints: Path, unetkit: Unetkit, write_image: WriteImage, tmp_path: Path
) -> None:
    image = RNG.integers(0, 255, (20, 30), np.uint8)
    paths = [checkpoints / f"fold{fold}" / "last.ckpt" for fold in (0, 1)]
    typed = [f"input={write_image(tmp_path / 'a.png', image)}", f"output={tmp_path}", "write=probabilities"]
    assert unetkit("predict", *(f"checkpoint={path}" for path in paths), *typed).status == 0
    found = np.load(tmp_path / "probabilities" / "a.npy")
    np.testing.assert_allclose(found, load_ensemble(paths)(image).probability, atol=1e-3)


def test_a_threshold_of_more_classes_is_refused(
    checkpoints: Path, predict_all: Callable[..., list[str]], write_image: WriteImage, tmp_path: Path
) -> None:
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 3, "channels": [4, 8]}
    metadata = Metadata(model, Preprocessing(1, None, (0.5,), (0.3,)))
    save_weights(tmp_path / "three.ckpt", metadata, UNet(1, 3, [4, 8]).state_dict())
    image = write_image(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(UserError, match=r"threshold=0\.4 is for binary masks; of 3 classes the likeliest is taken"):
        predict_all(f"checkpoint={tmp_path}/three.ckpt", f"input={image}", f"output={tmp_path}/out", "threshold=0.4")


def test_segy_without_its_extra_is_one_line(
    checkpoints: Path, predict_all: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segyio.tools.from_array2D(str(tmp_path / "a.sgy"), RNG.normal(size=(20, 30)).astype(np.float32))
    monkeypatch.setitem(sys.modules, "segyio", None)  # which makes `import segyio` fail as if it weren't installed
    with pytest.raises(UserError, match=r'SEG-Y needs segyio; pip install "unetkit\[segy\]"'):
        predict_all(f"checkpoint={checkpoints}/fold0/last.ckpt", f"input={tmp_path}/a.sgy", f"output={tmp_path}")


def test_the_mask_of_one_image_is_written_to_the_file_that_is_named(
    checkpoints: Path, unetkit: Unetkit, write_image: WriteImage, tmp_path: Path
) -> None:
    image = write_image(tmp_path / "in" / "a.png", RNG.integers(0, 255, (20, 30), np.uint8))
    net = f"checkpoint={checkpoints / 'fold0' / 'last.ckpt'}"
    for name in ("new/one.png", "one.npy"):
        done = unetkit("predict", net, f"input={image}", f"output={tmp_path / name}", "device=cpu")
        assert (done.status, done.stdout) == (0, f"wrote 1 masks to {tmp_path / name}\n"), done.stderr
    mask = cv2.imread(str(tmp_path / "new" / "one.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), mask)
    write_image(tmp_path / "in" / "b.png", RNG.integers(0, 255, (20, 30), np.uint8))
    for output, given, said in (
        ("two.png", image.parent, "two.png is one file, but the input is 2 images; give a folder"),
        ("one.jpg", image, "one.jpg must be a folder, or one file that ends in .png"),
        ("in/a.png", image, "a.png is the input, which would be replaced"),
    ):
        done = unetkit("predict", net, f"input={given}", f"output={tmp_path / output}", "device=cpu")
        assert done.status == 1
        assert said in done.stderr


def test_best_and_last_epoch_of_a_run_directory_are_chosen_by_name(checkpoints: Path) -> None:
    runs = [checkpoints / "runs" / name for name in ("a", "b")]
    for run in runs:
        (run / "checkpoints").mkdir(parents=True)
        for fold, name in enumerate(("last", "best")):
            shutil.copy(checkpoints / f"fold{fold}" / "last.ckpt", run / "checkpoints" / f"{name}.ckpt")
    for name in ("last", "best"):
        assert checkpoint_file(runs[0] / name) == runs[0] / "checkpoints" / f"{name}.ckpt"
        assert find_checkpoints(str(checkpoints / "runs" / "*" / name)) == [
            run / "checkpoints" / f"{name}.ckpt" for run in runs
        ]
    assert find_checkpoints(str(runs[0])) == [runs[0] / "checkpoints" / "last.ckpt"]
    with pytest.raises(UserError, match="does not exist"):
        load_ensemble([runs[0] / "worst"])
