"""A mistake in what is typed is one line that names what was typed and what it may be."""

from pathlib import Path

import pytest
from conftest import Unetkit


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trainer.max_epoch=3", "trainer.max_epoch is not a key of the configuration; did you mean trainer.max_"),
        ("lr=0.1", "lr is not a key of the configuration; did you mean optimizer.lr?"),
        ("epochs=3", "not a key of the configuration; did you mean trainer.min_epochs or trainer.max_epochs?"),
        (
            "data.root=my_data",
            "data.root is a key of data=folder, data=tgs_salt, data=volumes only; choose data=folder to use it",
        ),
        ("loss.gamma=2", "loss.gamma is a key of loss=focal, loss=focal_tversky only; choose loss=focal to use it"),
        ("xyzzy=1", "xyzzy is not a key of the configuration; --help lists the keys."),
        ("model=unet_smal", "model=unet_smal does not exist; it may be unet_small, "),
        ("callbacks=[ema,erly]", "callbacks=erly does not exist; --help lists what exists"),
        ("hydra.sweep.dirr=x", "hydra.sweep.dirr is not a key of the configuration; did you mean hydra.sweep.dir or "),
        ("trainer.precision", "trainer.precision can't be read; write KEY=VALUE"),
        ("seed=1,2", "seed=1,2 holds several values; write seed=[1,2] for a list, or add -m to run once for each"),
        ("checkpoint=~nobody/run", "checkpoint=~nobody/run does not exist"),
        ("~foo", "'foo' does not exist"),
        ("--config-dir=nowhere", "nowhere' not found"),
        (f"hydra.run.dir={__file__}/run", "hydra.run.dir can't be written"),
    ],
)
def test_a_mistake_is_one_line(typed: str, told: str, unetkit: Unetkit) -> None:
    done = unetkit("train", typed)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_command_without_its_file_says_what_to_give(unetkit: Unetkit, tmp_path: Path) -> None:
    for command, told in {
        "predict": "checkpoint= is missing; give checkpoint=FILE.ckpt and input=FILE_OR_FOLDER",
        "evaluate": "checkpoint= is missing; give checkpoint=FILE.ckpt, or several as checkpoint=[A,B]",
        "export": "checkpoint= is missing; give checkpoint=FILE.ckpt and output=FILE.onnx",
        "demo": "checkpoint= is missing; give checkpoint=FILE.ckpt, or two as 'checkpoint=[A.ckpt,B.ckpt]'",
        "import": "checkpoint= is missing; give the state dict or checkpoint of another project",
        "compare": "runs= is missing; give runs=[BASELINE,OTHER], folders that hold a scores.csv, or the directory of "
        "a sweep",
    }.items():
        assert unetkit(command) == (1, "", f"error: {told}\n")
