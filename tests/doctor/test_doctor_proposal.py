"""The proposed experiment fits the images and the machine, and trains."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from example_files import CPU, GPU, ROOT, H, W, compose_proposal, finding_on, make_pairs, save, save_pairs
from hydra.utils import instantiate
from omegaconf import OmegaConf

from unetkit.cli.doctor import examine
from unetkit.doctor import Machine, diagnose, report
from unetkit.models import activation_bytes
from unetkit.training.build import prepare_data


def test_large_images_are_cropped_and_a_gpu_gets_the_original_channels(tmp_path: Path) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, *make_pairs(40, size=(40, 400))), machine=GPU)
    cfg = compose_proposal(diagnosis, tmp_path / "out")
    assert (cfg.data.crop_size, cfg.data.batch_size, cfg.trainer.precision) == (256, 8, 16)
    assert cfg.model.channels[0] == 64
    assert cfg.data.channels == 3


def test_the_proposed_batch_fits_into_memory(tmp_path: Path) -> None:
    root = save_pairs(tmp_path, *make_pairs(40, size=(48, 48)))
    roomy = compose_proposal(diagnose(root, machine=GPU), tmp_path / "roomy")
    assert roomy.data.batch_size == 8  # four steps an epoch
    network = instantiate(roomy.model)
    one_image = activation_bytes(network, torch.zeros(1, 3, 48, 48))
    weights = sum(parameter.numel() for parameter in network.parameters())
    memory = 2 * (16 * weights + 5 * one_image // 2)  # two and a half images fit
    tight = compose_proposal(diagnose(root, machine=Machine("a small GPU", True, memory)), tmp_path / "tight")
    assert tight.data.batch_size == 2
    assert tight.model.norm == "group"


@pytest.mark.parametrize(("height", "levels"), [(24, 3), (101, 5), (300, 5)])
def test_the_network_is_as_deep_as_images_allow(tmp_path: Path, height: int, levels: int) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, *make_pairs(4, size=(height, 24))), machine=CPU)
    assert len(compose_proposal(diagnosis, tmp_path / "out").model.channels) == levels
    assert "only 4 usable pairs" in report(diagnosis)


def test_a_small_foreground_gets_the_focal_loss(tmp_path: Path) -> None:
    diagnosis = diagnose(save_pairs(tmp_path, *make_pairs(4, size=(100, 100))), machine=CPU)
    loss = compose_proposal(diagnosis, tmp_path / "out").loss
    assert loss._target_ == "unetkit.losses.WeightedSum"
    assert "focal" in loss.terms


def rare_foreground(root: Path) -> Path:
    images, masks = make_pairs(10, size=(100, 100))
    return save_pairs(root, images, masks)


def rare_classes(root: Path) -> Path:
    """Class 2 has few pixels in some masks, and one pixel is void."""
    images, masks = make_pairs(10)
    for i, mask in enumerate(masks.values()):
        mask[mask > 0] = 1
        mask[:2, : i + 1] = 2 if i % 2 else 1
        mask[-1, -1] = 255
    return save_pairs(root, images, masks)


def rare_label(root: Path) -> Path:
    images, masks = make_pairs(10)
    for i, (name, image) in enumerate(images.items()):
        small = masks[name] * 0
        small[:2, : i + 2] = 255
        save(root / "images" / f"{name}.png", image)
        save(root / "masks" / "cell" / f"{name}.png", masks[name])
        save(root / "masks" / "nucleus" / f"{name}.png", small)
    return root


@pytest.mark.parametrize(
    ("write", "what", "key"),
    [
        (rare_foreground, "few pixels are of foreground (1.", "pos_weight"),
        (rare_classes, "few pixels are of class 2 (0.", "class_weights"),
        (rare_label, "few pixels are of nucleus (0.", "pos_weight"),
    ],
)
def test_weights_of_rare_classes_are_typed_as_numbers_or_auto(
    write: Callable[[Path], Path], what: str, key: str, tmp_path: Path
) -> None:
    diagnosis = diagnose(write(tmp_path / "data"), machine=CPU)
    fix = finding_on(diagnosis, what).fix
    loss, numbers = re.findall(r"(loss=\w+) (loss\.\S+)", fix)[0]
    assert numbers.startswith(f"loss.{key}=")
    auto = re.search(rf"loss\.{key}=auto", fix)
    assert auto is not None
    used = []
    for typed in (numbers, auto[0]):
        cfg = compose_proposal(diagnosis, tmp_path / "out", loss, typed)
        cfg.run_dir, cfg.data.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
        prepare_data(cfg)
        used.append(cfg.loss[key])
    assert used[0] == used[1]
    assert f"={str(used[1]).replace(' ', '')} " in fix


def test_the_proposal_goes_by_the_channels_of_most_images(tmp_path: Path) -> None:
    root = save_pairs(tmp_path, *make_pairs(8))
    (root / "images" / "p00.png").unlink()
    save(root / "images" / "p00.npy", np.random.default_rng(0).integers(255, size=(H, W, 5), dtype=np.uint8))
    assert compose_proposal(diagnose(root, machine=CPU), tmp_path / "out").data.channels == 3


def test_training_reads_the_files_as_proposed(tmp_path: Path) -> None:
    diagnosis = diagnose(save_pairs(tmp_path / "data", *make_pairs(24)), machine=CPU)
    cfg = compose_proposal(diagnosis, tmp_path / "out")
    cfg.run_dir, cfg.data.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    assert prepare_data(cfg)


def test_the_command_writes_files_and_says_how_to_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, output = save_pairs(tmp_path / "data", *make_pairs(24)), tmp_path / "out"
    keys = {"root": str(root), "mask_suffix": "", "images": None, "masks": None, "stacks": False, "max_pixels": 10**6}
    faults = examine(OmegaConf.create({"data": keys, "output": str(output)}))
    assert faults == 0
    printed = capsys.readouterr().out
    assert (output / "report.txt").read_text() in printed
    assert cv2.imread(str(output / "contact_sheet.png")) is not None
    assert shlex.split(printed.splitlines()[-1])[-3:] == ["--config-dir", str(output), "experiment=my_data"]


@pytest.mark.slow
def test_the_last_line_that_the_command_prints_trains(tmp_path: Path) -> None:
    root = save_pairs(tmp_path / "data", *make_pairs(24))
    done = run(sys.executable, "scripts/doctor.py", f"data.root={root}", f"output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu", f"data.cache_dir={tmp_path / 'cache'}"]
    trained = run(*shlex.split(done.stdout.splitlines()[-1]), *quick, f"hydra.run.dir={tmp_path / 'run'}")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "summary.json").exists()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
