"""Stripped checkpoints are small, predict as the original does, and can't be resumed."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from hydra import compose, initialize_config_dir

import unetkit
from unetkit.checkpoints.checkpoint import Checkpoint, build_network
from unetkit.checkpoints.metadata import Metadata
from unetkit.checkpoints.strip import write_stripped
from unetkit.cli.export import checked_output
from unetkit.data import Preprocessing, synthetic
from unetkit.errors import UserError
from unetkit.training.run import train

ROOT = Path(__file__).parents[2]
MODEL = {"_target_": "unetkit.models.UNet", "in_channels": 3, "num_classes": 1, "channels": [32, 64]}
METADATA = Metadata(MODEL, Preprocessing(3, None, (0.4,) * 3, (0.2,) * 3), 0.5, {"name": "test"})


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A checkpoint with the state of training, as Lightning writes it."""
    state = {f"network.{key}": value for key, value in build_network(MODEL, "test").state_dict().items()}
    moments = {key: value.clone() for key, value in state.items()}
    content = {
        "state_dict": state,
        "unetkit": METADATA.to_dict(),
        "optimizer_states": [moments],
        "epoch": 6,
        "loops": {},
    }
    file = tmp_path / "run" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save(content, file)
    return file


def test_half_precision_is_half_the_size_and_loads_as_float32(original: Path, tmp_path: Path) -> None:
    sizes = {}
    for half in (False, True):
        file = tmp_path / f"half-{half}.ckpt"
        difference = write_stripped(original, file, half=half)
        assert (difference == 0) == (not half)
        assert difference < 0.05
        stripped = Checkpoint.read(file)
        assert stripped.content.keys() == {"unetkit", "epoch", "state_dict"}
        assert (stripped.metadata, stripped.epoch, stripped.is_resumable) == (METADATA, 6, False)
        weights = {x.dtype for x in stripped.state_dict.values() if x.is_floating_point()}
        assert weights == {torch.float16 if half else torch.float32}
        loaded = unetkit.load(file).network.state_dict()
        assert all(x.dtype == torch.float32 for x in loaded.values() if x.is_floating_point())
        sizes[half] = file.stat().st_size
    assert sizes[True] < 0.6 * sizes[False]
    assert sizes[False] < 0.6 * original.stat().st_size


def test_weights_beyond_the_range_of_float16_are_not_written(original: Path, tmp_path: Path) -> None:
    content = Checkpoint.read(original).content
    content["state_dict"]["network.head.weight"] *= 1e7
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"output=.*b.ckpt would differ from checkpoint=.*; use half=false"):
        write_stripped(tmp_path / "a.ckpt", tmp_path / "b.ckpt", half=True)
    assert not (tmp_path / "b.ckpt").exists()
    assert write_stripped(tmp_path / "a.ckpt", tmp_path / "b.ckpt", half=False) == 0


@pytest.mark.parametrize("place", [Path("/proc/none/a.ckpt"), Path("/proc/a.ckpt")])  # no such folder; no such file
def test_a_place_that_cant_be_written_is_named(original: Path, place: Path) -> None:
    with pytest.raises(UserError, match=rf"output={place} can't be written \(No such file.*\); give another"):
        write_stripped(original, place, half=True)


def test_a_run_keeps_its_own_checkpoint(original: Path) -> None:
    before = original.read_bytes()
    with pytest.raises(UserError, match=rf"output={original} is the checkpoint itself"):
        write_stripped(original.parents[1], original, half=False)
    assert original.read_bytes() == before


@pytest.mark.slow
def test_a_stripped_checkpoint_is_fine_tuned_and_not_resumed(tmp_path: Path) -> None:
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.count=8", "data.size=36", "trainer.accelerator=cpu"]
    tiny += ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", f"data.cache_dir={tmp_path / 'cache'}"]
    stripped = tmp_path / "stripped.ckpt"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        first = compose("train", [*tiny, f"run_dir={tmp_path / 'first'}"])
        tuned = compose("train", [*tiny, f"run_dir={tmp_path / 'run'}", f"weights={stripped}"])
        resumed = compose("train", [*tiny, f"run_dir={tmp_path / 'run'}", f"checkpoint={stripped}"])
    train(first)
    write_stripped(tmp_path / "first", stripped, half=True)
    with pytest.raises(UserError, match=r"stripped.ckpt holds .*start with weights="):
        train(resumed)
    assert train(tuned)["epochs"] == 1


@pytest.mark.slow
def test_the_command_writes_a_checkpoint_that_predicts_and_its_card(original: Path, tmp_path: Path) -> None:
    file, card = tmp_path / "new" / "unet.ckpt", tmp_path / "cards" / "unet.md"
    done = run("export", f"checkpoint={original}", f"output={file}", "format=checkpoint", "half=true", f"card={card}")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"wrote {file} (" in done.stdout
    assert f" and {card}, largest difference " in done.stdout
    assert "## Scores" in card.read_text(encoding="utf-8")
    image, _ = synthetic.section(1, 1, size=36, salt=True)
    assert cv2.imwrite(str(tmp_path / "image.png"), image)
    done = run("predict", f"checkpoint={file}", f"input={tmp_path / 'image.png'}", f"output={tmp_path}")
    assert (done.returncode, "wrote 1 mask" in done.stdout) == (0, True), done.stderr


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    typed = [sys.executable, f"scripts/{command}.py", *arguments]
    return subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["half=true", "format=onnx"], "half=, card= and scores= are for format=checkpoint, not for format=onnx"),
        (["format=tflite"], "format=tflite must be one of onnx, torch, openvino, checkpoint"),
        (["output=model.onnx", "format=torch"], "output=model.onnx must end in .pt2 for format=torch"),
        (["output=model.onnx", "format=checkpoint"], "output=model.onnx must end in .ckpt for format=checkpoint"),
        (["card=a.ckpt", "format=checkpoint"], "card=a.ckpt must end in .md; the card is Markdown"),
    ],
)
def test_options_of_another_format_are_named(options: list[str], said: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("export", ["checkpoint=none.ckpt", *options])
    with pytest.raises(UserError) as caught:
        checked_output(cfg)
    assert str(caught.value) == said
