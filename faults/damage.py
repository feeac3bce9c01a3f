"""Damaged checkpoints, full disks, losses that are no numbers, two runs in one directory."""

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from faults.cases import Case, Fault, Lab, Result, judge
from faults.comparing import differences, unreadable
from faults.data import trained_once
from faults.kills import TINY, WHOLE, train
from faults.program import Running

FLIPPED = Fault("one byte of a checkpoint is changed", "at a random place of `last.ckpt`; then `predict`")
CUT = Fault("a checkpoint is cut", "at a random length; then `predict`, and what its error names instead")
FULL = Fault("the disk is full", "a file system of 16 to 300 KiB; a checkpoint takes 55; then there is room again")
NAN = Fault("a loss that is no number", "`optimizer.lr=1e30`")
NAN_WEIGHTS = Fault("a network whose weights are no numbers", "one NaN in `last.ckpt`; `predict`")
TWO = Fault("two runs in one directory", "the second starts while the first trains")


def predict(lab: Lab, checkpoint: Path, output: str) -> tuple[Result, dict[str, bytes]]:
    """Predict with a checkpoint; return what came of it, and the masks by name."""
    images = trained_once(lab).parent / "set" / "images"
    done = lab.program.run("predict", f"checkpoint={checkpoint}", f"input={images}", f"output={output}", cwd=lab.folder)
    masks = {file.name: file.read_bytes() for file in (lab.folder / output / "masks").glob("*")}
    return judge(done, "either", (str(checkpoint),), lab.folder / output / "masks"), masks


def flipped(seed: str, lab: Lab) -> Result:
    """Change a byte of a checkpoint."""
    file, chance = lab.folder / "last.ckpt", random.Random(seed)
    content = bytearray((trained_once(lab) / "checkpoints" / "last.ckpt").read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    result, masks = predict(lab, file, "out")
    if not result.is_good or not masks:
        return result
    _, whole = predict(lab, trained_once(lab) / "checkpoints" / "last.ckpt", "whole")
    if masks == whole:  # between the members of the zip, or a date in it
        return Result(True, "read, the same masks: the byte holds nothing")
    return Result(False, "read, with other masks")


def cut(seed: str, lab: Lab) -> Result:
    """Cut a checkpoint, and follow the advice of the error."""
    folder = lab.folder / "checkpoints"
    shutil.copytree(trained_once(lab) / "checkpoints", folder)
    file = folder / "last.ckpt"
    file.write_bytes(file.read_bytes()[: random.Random(seed).randrange(file.stat().st_size)])
    result, masks = predict(lab, file, "out")
    if masks:
        return Result(False, "read, although it is cut")
    if not result.is_good or "best.ckpt, which is whole" not in result.said:
        return Result(False, "does not name the whole one", result.said)
    advised, masks = predict(lab, folder / "best.ckpt", "advised")
    return Result(len(masks) == 6, "refused, and names a whole one, which works", advised.said)


def full_disk(kib: int, lab: Lab) -> Result:
    """Train on a small file system; then make room and go on."""
    place = lab.folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return Result(True, "not tried: this needs the right to mount")
    try:
        return _full_disk(lab, place / "run", kib)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _full_disk(lab: Lab, run: Path, kib: int) -> Result:
    whole = WHOLE["plain"]
    expected = whole.make(lab)
    done = train(lab, whole.typed, run)
    result = judge(done, "either", (str(run), "run_dir", "hydra.run.dir"), run / "summary.json")
    if not result.is_good:
        return result
    if broken := unreadable(run / "checkpoints"):
        return Result(False, "a broken checkpoint", ", ".join(broken))
    if done.status == 0:
        return Result(True, "was large enough")
    subprocess.run(["mount", "-o", "remount,size=100m", str(run.parent)], check=True)
    more = [f"checkpoint={run}"] if (run / "checkpoints" / "last.ckpt").exists() else []
    done = train(lab, whole.typed, run, *more)
    if done.status or (found := differences(run, expected)):
        return Result(False, "was not resumed to the same end", done.said[-300:] if done.status else ", ".join(found))
    return Result(True, "one line; resumed, equal to the bit, once there is room")


def no_number(typed: list[str], must: str, lab: Lab) -> Result:
    """Train with a rate that makes the loss NaN."""
    run = lab.folder / "run"
    done = train(lab, [*TINY, "optimizer.lr=1e30", "trainer.max_epochs=3", *typed], run)
    result = judge(done, must, ("loss", "weights"), run / "summary.json")
    broken = unreadable(run / "checkpoints")
    return Result(False, "a broken checkpoint", str(broken)) if broken else result


def nan_weights(lab: Lab) -> Result:
    """Predict with a network of which one weight is NaN."""
    content = torch.load(trained_once(lab) / "checkpoints" / "last.ckpt", weights_only=True)
    next(iter(content["state_dict"].values())).view(-1)[0] = torch.nan
    torch.save(content, lab.folder / "nan.ckpt")
    result, masks = predict(lab, lab.folder / "nan.ckpt", "out")
    return Result(False, "masks of NaN") if masks else result


def two_runs(lab: Lab) -> Result:
    """Start a second run in the directory of one that trains, which is halted meanwhile."""
    run, whole = lab.folder / "run", WHOLE["plain"]
    expected = whole.make(lab)
    second: list[Result] = []

    def start(running: Running) -> None:
        if not second and (run / "checkpoints").exists():
            running.send(signal.SIGSTOP)
            second.append(judge(train(lab, whole.typed, run), "refuse", (str(run),)))
            running.send(signal.SIGCONT)

    places = [f"hydra.run.dir={run}", f"data.cache_dir={lab.folder.parent / 'cache'}"]
    done = lab.program.start(*whole.typed, *places, cwd=lab.folder).end(start)
    if done.status or not second or not second[0].is_good:
        return second[0] if second else Result(False, "the first failed", done.said[-300:])
    found = differences(run, expected)
    return Result(not found, "the second is refused, the first ends as it would alone", ", ".join(found))


def cases(seed: int) -> Iterator[Case]:
    """Yield the cases."""
    for number in range(30):
        yield Case(FLIPPED, f"byte {number}", partial(flipped, f"{seed} byte {number}"), number < 2)
    for number in range(10):
        yield Case(CUT, f"cut {number}", partial(cut, f"{seed} cut {number}"), number == 0)
    for number, kib in enumerate((16, 40, 80, 120, 160, 200, 240, 300)):
        yield Case(FULL, f"{kib} KiB", partial(full_disk, kib), number == 4)
    yield Case(NAN, "stopped", partial(no_number, [], "refuse"), is_short=True)
    yield Case(NAN, "stop_on_nan=false", partial(no_number, ["stop_on_nan=false"], "accept"))
    yield Case(NAN_WEIGHTS, "one NaN", nan_weights, is_short=True)
    yield Case(TWO, "a second run", two_runs, is_short=True)
