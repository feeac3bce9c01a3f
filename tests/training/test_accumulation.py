"""Gradients of several batches before a step are those of the mean loss over their images."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from interrupted import fit_with
from training_runs import config

from unetkit.data import VOID
from unetkit.training.module import SegmentationModule

PLAIN = [
    "optimizer=sgd",
    "optimizer.momentum=0",
    "optimizer.nesterov=false",
    "optimizer.lr=0.05",
    "scheduler=none",
    "trainer.max_epochs=1",
]


class Record(L.Callback):
    """Keep the batches, and the network before the first; the images of a batch can be made void."""

    def __init__(self, void: dict[int, int]) -> None:
        self.void = void
        self.batches: list[Any] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.batches:
            self.before = copy.deepcopy(pl_module.state_dict())
        batch["mask"][: self.void.get(batch_idx, 0)] = VOID
        self.batches.append(copy.deepcopy(batch))


def one_epoch(folder: Path, cache: Path, void: dict[int, int], *options: str) -> tuple[SegmentationModule, Record]:
    module = fit_with(record := Record(void), config(folder, cache, *PLAIN, *options))
    assert isinstance(module, SegmentationModule)  # narrows the type for mypy
    return module, record


def by_hand(module: SegmentationModule, record: Record, group_size: int, clip: float | None) -> dict[str, torch.Tensor]:
    """Weights after the same epoch: in each group, the mean of the losses of all images that have a valid pixel."""
    module.load_state_dict(record.before)
    module.train()
    optimizer = torch.optim.SGD(module.network.parameters(), 0.05)
    for start in range(0, len(record.batches), group_size):
        losses = []
        for batch in record.batches[start : start + group_size]:
            logits, target = module(batch["image"]), batch["mask"]
            valid = target != VOID
            per_image = module.loss.per_image(logits, target, valid)  # type: ignore[operator]
            losses.append(per_image[valid.flatten(1).any(1)])
        optimizer.zero_grad()
        torch.cat(losses).mean().backward()  # type: ignore[no-untyped-call]
        if clip:
            torch.nn.utils.clip_grad_norm_(module.network.parameters(), clip)
        optimizer.step()
    return module.network.state_dict()


@pytest.mark.parametrize(
    ("void", "clip"), [({}, None), ({1: 3, 9: 1}, None), ({}, 0.02)], ids=["all valid", "void images", "clipped"]
)
def test_an_epoch_of_ten_batches_in_groups_of_four_is_that_of_the_mean_over_images(
    tmp_path: Path, cache: Path, void: dict[int, int], clip: float | None
) -> None:
    options = ["data.count=47", "data.batch_size=4", "trainer.accumulate_grad_batches=4", "data.size=24"]
    clipping = f"trainer.gradient_clip_val={'null' if clip is None else clip}"
    weight_decay = "optimizer.weight_decay=0"
    module, record = one_epoch(tmp_path, cache, void, *options, clipping, weight_decay)
    assert [len(batch["image"]) for batch in record.batches] == [4] * 9 + [2]
    after = copy.deepcopy(module.network.state_dict())
    for name, wanted in by_hand(module, record, 4, clip).items():
        torch.testing.assert_close(after[name], wanted, atol=1e-6, rtol=0)


def test_without_accumulation_the_loss_is_left_as_it_is(tmp_path: Path, cache: Path) -> None:
    module, record = one_epoch(tmp_path, cache, {}, "optimizer.weight_decay=0", "trainer.gradient_clip_val=null")
    after = copy.deepcopy(module.network.state_dict())
    module.load_state_dict(record.before)
    module.train()
    optimizer = torch.optim.SGD(module.network.parameters(), 0.05)
    for batch in record.batches:
        optimizer.zero_grad()
        module.loss(module(batch["image"]), batch["mask"], batch["mask"] != VOID).backward()
        optimizer.step()
    for name, wanted in module.network.state_dict().items():
        assert torch.equal(after[name], wanted), name
