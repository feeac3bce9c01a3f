"""What a message says to type is typed: a command is refused, its advice is taken out of the message, and works."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import Unetkit, WritePairs

from unetkit.checkpoints.checkpoint import build_network, save_weights
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing

MODEL = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}
TRAIN = "train trainer=cpu trainer.fast_dev_run=true model=plain_small model.channels=[2,4] data.batch_size=2"
MADE = "data.count=12 data.size=24"
RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """A command that is refused.

    Attributes:
        typed: What is typed; `{here}` is the folder of the test.
        advice: Pattern that finds in the message what to type; its groups are words.
        prepare: Writes the files that it needs.
        drops: Key that the advice takes the place of.
        is_slow: Whether it takes more than a second.
    """

    typed: str
    advice: str
    prepare: Callable[[Path, WritePairs], object] = lambda here, write: None
    drops: str = "nothing"
    is_slow: bool = False


def masks_of(*values: float) -> Callable[[Path, WritePairs], object]:
    def prepare(here: Path, write_pairs: WritePairs) -> None:
        names = [f"p{number}" for number in range(6)]
        mask = np.resize(np.repeat(np.array(values), 40), (16, 16))
        images = {name: RNG.integers(0, 255, (16, 16), dtype=np.uint8) for name in names}
        write_pairs(here / "data", images, dict.fromkeys(names, mask.astype(np.uint8)))

    return prepare


def checkpoint(here: Path, write_pairs: WritePairs) -> None:
    torch.manual_seed(0)
    metadata = Metadata(MODEL, Preprocessing(1), 0.5, {"name": "test"})
    save_weights(here / "a.ckpt", metadata, build_network(MODEL, "test").state_dict())
    masks_of(0, 255)(here, write_pairs)


FOLDER = f"{TRAIN} data=folder data.root={{here}}/data data.cache_dir={{here}}/cache"
CASES = {
    "values of classes": Case(FOLDER, r"for these, set (\S+)", masks_of(0, 1, 2, 3), is_slow=True),
    "two other values": Case(FOLDER, r"for these, set (\S+)", masks_of(0, 128), is_slow=True),
    "two other values again": Case(
        f"{FOLDER} data.mask_values=[0,255]", r"for these, set (\S+)", masks_of(0, 128), "data.mask_values", True
    ),
    "many classes": Case(FOLDER, r"for these, set (\S+)", masks_of(*range(0, 96, 8)), is_slow=True),
    "a fold without folds": Case(f"{TRAIN} {MADE} data.fold=1", r"set (data\.split=kfold)", is_slow=True),
    "the recreation's split": Case(
        f"{TRAIN} {MADE} data.split=recreation", r"use (data\.split=\w+)", drops="data.split", is_slow=True
    ),
    "a key of another choice": Case(
        f"{TRAIN} data.root={{here}}/data data.cache_dir={{here}}/cache",
        r"choose (data=folder)",
        masks_of(0, 255),
        is_slow=True,
    ),
    "no GPU": Case(
        "predict checkpoint={here}/a.ckpt input={here}/data/images output={here}/out device=cuda",
        r"use (device=cpu)",
        checkpoint,
        "device",
    ),
    "an option of exports for all formats": Case(
        "export checkpoint={here}/a.ckpt output={here}/b.onnx half=true", r"are for (format=checkpoint)", checkpoint
    ),
}
CHOSEN = [pytest.param(case, id=name, marks=[pytest.mark.slow] * case.is_slow) for name, case in CASES.items()]


@pytest.mark.parametrize("case", CHOSEN)
def test_what_a_message_says_to_type_works(
    case: Case, tmp_path: Path, write_pairs: WritePairs, unetkit: Unetkit
) -> None:
    case.prepare(tmp_path, write_pairs)
    words = shlex.split(case.typed.format(here=tmp_path))
    if words[0] == "train":
        words += [f"hydra.run.dir={tmp_path}/run"]
    refused = unetkit(*words)
    assert refused.status == 1
    assert refused.stderr.count("\n") == 1, refused.stderr
    found = re.search(case.advice, refused.stderr)
    assert found, refused.stderr
    advice = [word.rstrip(";,.") for word in found.groups()]
    kept = [word for word in words if not word.startswith(f"{case.drops}=")]
    if case.advice.startswith("are for"):  # the file of that format has another suffix
        kept = [word.replace(".onnx", ".ckpt") for word in kept]
    done = unetkit(*kept, *advice)
    assert done.status == 0, (advice, done.stderr)
