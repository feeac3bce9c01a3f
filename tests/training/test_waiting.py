"""A run says what its network waited for, and what it advises helps when it is typed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Unetkit

from unetkit.data import DeviceAugmentation, SegmentationDataModule, synthetic_pairs
from unetkit.data.serving import MAX_WORKERS, ServingOptions
from unetkit.paths import usable_cores
from unetkit.training.waiting import helpful_settings

SMALL = [
    "model=plain_small",
    "model.channels=[4]",
    "data.count=30",
    "data.size=160",
    "data.batch_size=4",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
]


def trained(
    unetkit: Unetkit, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, *typed: str
) -> tuple[dict[str, Any], str]:
    caplog.set_level("INFO")
    done = unetkit(
        "train", *SMALL, f"data.cache_dir={cache}", "trainer.max_epochs=1", f"hydra.run.dir={folder}", *typed
    )
    assert done.status == 0, done.stderr
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    said = done.stdout + done.stderr + (folder / "train.log").read_text() + caplog.text  # as Hydra sets up logging
    line = re.search(r"the network waited .*", said)
    return summary, line[0] if line else ""


def test_the_wait_is_told_by_its_parts_with_the_setting_that_shortens_it(
    unetkit: Unetkit, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow, line = trained(unetkit, tmp_path / "slow", cache, caplog, "augment=strong")
    parts = slow["data_wait_parts"]
    assert sum(parts.values()) == pytest.approx(slow["data_wait"], abs=2e-4)
    assert parts["augment"] == max(parts.values()) > 0.05
    assert re.search(r"waited for data in \d+ % of the time \(decode \d+ %, augment \d+ %, transfer \d+ %\)", line)
    advised = re.search(r"shorter with (\S+)", line)
    assert advised is not None
    assert advised[1] == "augment=strong_device"
    quick, _ = trained(unetkit, tmp_path / "quick", cache, caplog, advised[1])
    assert quick["data_wait_parts"]["augment"] < parts["augment"]


def served(tmp_path: Path, **options: Any) -> SegmentationDataModule:
    data = SegmentationDataModule(
        name="synthetic",
        pairs=lambda: synthetic_pairs(tmp_path, count=6, size=36, seed=0),
        augmentation=DeviceAugmentation(0),
        cache_dir=tmp_path,
        **options,
    )
    data.prepare(1)
    return data


def test_a_gpu_is_fed_by_as_many_processes_as_there_are_cores_however_few_threads_torch_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as OMP_NUM_THREADS=1 does, which clusters set
    options = ServingOptions()
    assert options.workers(torch.device("cuda")) == min(MAX_WORKERS, usable_cores())
    assert options.workers(torch.device("cpu")) == 0


def test_only_what_is_possible_and_not_yet_done_is_advised(tmp_path: Path) -> None:
    device = torch.device("cpu")
    assert helpful_settings("decode", served(tmp_path), device)[0] == "data.cache_on_device=true"
    assert helpful_settings("transfer", served(tmp_path, cache_on_device=True), device) == []
    crops = helpful_settings("decode", served(tmp_path, crop_size=20, num_workers=1000), device)
    assert crops == ["a smaller data.crop_size"]  # no more workers than cores, and crops are not cached
    assert helpful_settings("augment", served(tmp_path), device) == []
