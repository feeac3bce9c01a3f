"""Slim checkpoints: small, as good as the original, and with a card that says what they are."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from hydra import compose, initialize_config_dir
from test_cross_validation import config

import unetkit
from unetkit.checkpoints.checkpoint import Checkpoint, build_network
from unetkit.checkpoints.metadata import Metadata
from unetkit.checkpoints.strip import write_stripped
from unetkit.data import Preprocessing, synthetic
from unetkit.errors import UserError
from unetkit.evaluation import Summary
from unetkit.report import model_card
from unetkit.training.cross_validation import cross_validate
from unetkit.training.run import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """A cross-validation of two folds and its summary."""
    folder = tmp_path_factory.mktemp("cv")
    summary = cross_validate(config(folder, "cross_validation.bootstrap=100", "callbacks=ema"))
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("- model=plain_small\n- data.root=/home/me\n- hydra.run.dir=x\n")
    return folder, summary


def door(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/export.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_from_the_door_to_a_mask(validated: tuple[Path, Summary], tmp_path: Path) -> None:
    fold, file = validated[0] / "ensemble" / "fold-0.ckpt", tmp_path / "new" / "unet.ckpt"
    card = tmp_path / "cards" / "unet.md"
    options = ["format=checkpoint", "half=true", f"card={card}", f"scores={validated[0]}"]
    done = door(f"checkpoint={fold}", f"output={file}", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"wrote {file} (" in done.stdout
    assert f" and {card}, largest difference " in done.stdout
    assert "## Scores" in card.read_text()
    image, _ = synthetic.section(1, 1, size=36, salt=True)
    assert cv2.imwrite(str(tmp_path / "image.png"), image)
    command = [sys.executable, "scripts/predict.py", f"checkpoint={file}", f"input={tmp_path / 'image.png'}"]
    done = subprocess.run([*command, f"output={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "wrote 1 mask" in done.stdout) == (0, True), done.stderr


def test_half_precision_is_half_the_size_and_loads_as_float32(tmp_path: Path) -> None:
    model = {"_target_": "unetkit.models.UNet", "in_channels": 3, "num_classes": 1, "channels": [32, 64]}
    wide = Metadata(model, Preprocessing(3, None, (0.4,) * 3, (0.2,) * 3), 0.5, {"name": "test"})
    network = build_network(model, "wide.ckpt")
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    moments = {key: value.clone() for key, value in state.items()}
    whole = {"state_dict": state, "unetkit": wide.to_dict(), "optimizer_states": [moments], "epoch": 6}
    torch.save(whole, tmp_path / "wide.ckpt")
    sizes = {}
    for half in (False, True):
        file = tmp_path / f"half-{half}.ckpt"
        difference = write_stripped(tmp_path / "wide.ckpt", file, half=half)
        assert (difference == 0) == (not half)
        assert difference < 0.05
        stripped = Checkpoint.read(file)
        assert stripped.content.keys() == {"unetkit", "epoch", "state_dict"}
        assert (stripped.metadata, stripped.epoch) == (wide, 6)
        weights = {x.dtype for x in stripped.state_dict.values() if x.is_floating_point()}
        assert weights == {torch.float16 if half else torch.float32}
        loaded = unetkit.load(file).network.state_dict()
        assert all(x.dtype == torch.float32 for x in loaded.values() if x.is_floating_point())
        sizes[half] = file.stat().st_size
    assert sizes[True] < 0.6 * sizes[False]
    assert sizes[False] < 0.6 * (tmp_path / "wide.ckpt").stat().st_size


def test_what_float16_can_not_hold_is_not_written(validated: tuple[Path, Summary], tmp_path: Path) -> None:
    content = Checkpoint.read(validated[0] / "ensemble" / "fold-0.ckpt").content
    content["state_dict"]["network.head.weight"] *= 1e7
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"output=.*b.ckpt would differ from checkpoint=.*; use half=false"):
        write_stripped(tmp_path / "a.ckpt", tmp_path / "b.ckpt", half=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]
    assert write_stripped(tmp_path / "a.ckpt", tmp_path / "b.ckpt", half=False) == 0


def test_a_slim_checkpoint_is_fine_tuned_and_not_resumed(validated: tuple[Path, Summary], tmp_path: Path) -> None:
    write_stripped(validated[0] / "fold-0", tmp_path / "slim.ckpt", half=True)
    tiny = ["model=plain_small", "model.channels=[4,8]", "data.count=8", "data.size=36", "trainer.accelerator=cpu"]
    tiny += ["trainer.max_epochs=2", "trainer.enable_progress_bar=false", f"data.cache_dir={tmp_path / 'cache'}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        tuned = compose("train", [*tiny, f"run_dir={tmp_path / 'run'}", f"weights={tmp_path / 'slim.ckpt'}"])
        resumed = compose("train", [*tiny, f"run_dir={tmp_path / 'run'}", f"checkpoint={tmp_path / 'slim.ckpt'}"])
    with pytest.raises(UserError, match=r"slim.ckpt holds weights and no run to go on with; start with weights="):
        train(resumed)
    assert train(tuned)["epochs"] == 2


def test_the_card_says_what_is_known(validated: tuple[Path, Summary]) -> None:
    folder, summary = validated
    card = model_card(folder / "ensemble" / "fold-1.ckpt", folder)
    kaggle = summary["models"]["out of fold"]["scores"]["per_image/kaggle"]
    row = f"| Kaggle's score, mean over images | {kaggle['value']:.4f} | {kaggle['low']:.4f} to {kaggle['high']:.4f} |"
    assert row in card
    file = folder / "ensemble" / "fold-1.ckpt"
    network = Checkpoint.read(file).build_network()
    assert f"UNet of {sum(p.numel() for p in network.parameters()):,} parameters" in card
    chosen = summary["post_processing"]
    for said in (
        "12 images of `synthetic`, 12 kept for validation; split `kfold`, fold 1 of 2, seed 47",
        "Out of fold, on 24 images",
        f"threshold {chosen['fitted']['threshold']:g} and least area {chosen['fitted']['min_area']} give the\nbest",
        ", ".join(f"{fold['kaggle']:.4f}" for fold in summary["folds"].values()),
        "Trained for 1 epoch per fold, seed 47, 32",
        "weights in float32",
        "unetkit cross-validate model=plain_small data.root=DIR\n",
        f"`unetkit train model=plain_small weights={file}\ndata=folder data.root=DIR optimizer.lr=1e-3`",
    ):
        assert said in card
    assert (f"masks of fewer than {chosen['min_area']} pixels" in card) == (chosen["min_area"] > 0)
    assert "/home/me" not in card
    assert "Kaggle's competition" not in card
    assert "\n\n\n" not in card


def test_a_card_of_tgs_salt_without_scores(validated: tuple[Path, Summary], tmp_path: Path) -> None:
    content = Checkpoint.read(validated[0] / "ensemble" / "fold-0.ckpt").content
    content["unetkit"]["data"] = {"name": "tgs_salt"}
    torch.save(content, tmp_path / "a.ckpt")
    card = model_card(tmp_path / "a.ckpt", None)
    assert "| trained on | `tgs_salt` |" in card
    assert "Not measured here. Measure it on images that it was not trained on: `unetkit evaluate" in card
    assert "[Kaggle's competition](https://" in card
    assert "out of fold" not in card.lower()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["half=true", "format=onnx"], "half=, card= and scores= are for format=checkpoint, not for format=onnx"),
        (["format=tflite"], "format=tflite must be one of onnx, torch, checkpoint"),
        (["output=model.onnx", "format=torch"], "output=model.onnx must end in .pt2 for format=torch"),
        (["output=model.onnx", "format=checkpoint"], "output=model.onnx must end in .ckpt for format=checkpoint"),
        (["card=a.ckpt", "format=checkpoint"], "card=a.ckpt must end in .md; the card is Markdown"),
    ],
)
def test_mistakes_at_the_door(options: list[str], said: str) -> None:
    done = door("checkpoint=none.ckpt", *options)
    assert (done.returncode, done.stderr) == (1, f"error: {said}\n")


def test_a_folder_without_scores_is_named(validated: tuple[Path, Summary], tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"val/iou": 0.5}))
    with pytest.raises(UserError, match=r"scores=.* is no directory of a finished cross-validation"):
        model_card(validated[0] / "ensemble" / "fold-0.ckpt", tmp_path)


@pytest.mark.parametrize("place", [Path("/proc/none/a.ckpt"), Path("/proc/a.ckpt")])  # no such folder; no such file
def test_a_place_that_cant_be_written_is_named(validated: tuple[Path, Summary], place: Path) -> None:
    with pytest.raises(UserError, match=rf"output={place} can't be written \(No such file.*\); give another"):
        write_stripped(validated[0] / "fold-0", place, half=True)


def test_a_run_keeps_the_checkpoint_that_it_can_go_on_from(validated: tuple[Path, Summary]) -> None:
    run = validated[0] / "fold-0"
    last = run / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    with pytest.raises(UserError, match=rf"output={last} is the checkpoint itself"):
        write_stripped(run, last, half=False)
    assert last.read_bytes() == before
