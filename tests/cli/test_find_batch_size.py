"""`unetkit find-batch-size` finds the largest batch that fits, and leaves nothing behind."""

import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import Unetkit

from faults.program import Program
from unetkit.training.free_memory import free_ram, limited_to

TINY = ["model=plain_small", "model.channels=[4,8]", "data.count=25", "trainer.accelerator=cpu", "callbacks=ema"]


def test_all_images_fit(tmp_path: Path, cache: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = unetkit("find-batch-size", *TINY, "data.size=36", f"data.cache_dir={cache}", "trainer.max_epochs=1")
    assert done.status == 0, done.stderr
    printed = r"the largest batch: data.batch_size=20 of 20 training images, all of which fit in \S+ GiB of RAM"
    assert re.fullmatch(printed, done.stdout.splitlines()[-1])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process so")
def test_memory_ends(tmp_path: Path, cache: Path) -> None:
    """In processes of their own, as one that has freed much memory can take that again."""
    typed, program = ["find-batch-size", *TINY, f"data.cache_dir={cache}"], Program(is_fresh=False)
    large = ["data.size=200", "data.count=30", "model.channels=[8,8]"]
    done = program.run(*typed, *large, "gibibytes=0.2", cwd=tmp_path)
    found = re.search(r"data.batch_size=(\d+) of 24 .* more do not fit in 0.2 GiB of RAM", done.said)
    assert found, done.said
    assert 1 <= int(found[1]) < 24
    done = program.run(*typed, *large, "gibibytes=0.001", cwd=tmp_path)
    assert done.status == 1
    assert "error: memory ends before a batch of two images is trained on; set data.crop_size" in done.said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process so")
def test_the_limit_on_memory_ends_with_its_block() -> None:
    with limited_to(2**26), pytest.raises(RuntimeError, match="can't allocate memory"):
        torch.ones(2**28)
    torch.ones(2**25)


def test_free_memory_is_that_of_this_machine() -> None:
    assert 2**26 < free_ram() < 2**50


def test_a_wrong_amount(cache: Path, unetkit: Unetkit) -> None:
    done = unetkit("find-batch-size", "gibibytes=-1", f"data.cache_dir={cache}")
    assert (done.status, "gibibytes=-1 must be null, or a number above 0" in done.stderr) == (1, True)
