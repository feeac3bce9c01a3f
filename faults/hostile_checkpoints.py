"""Checkpoints of a stranger who means harm: with code in them, or with numbers that would take all memory."""

import functools
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from faults.cases import Fault, Lab, Result
from faults.data import trained_once
from faults.program import Done

CHECKPOINT = Fault(
    "a checkpoint that holds code or takes all memory", "`predict`, `weights=`, `checkpoint=`, `evaluate`, `export`"
)
SECRET = "a-secret-of-the-environment"


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.called


def gadgets(canary: Path) -> dict[str, object]:
    """Return objects that write the file `canary` when they are read as pickles."""
    code = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {canary}"),
        "exec": Calls(exec, code),
        "eval": Calls(eval, code),
        "open": Calls(open, str(canary), "w"),
        "Path.touch": Calls(Path.touch, canary),
        "partial": Calls(functools.partial(os.system, f"touch {canary}")),
        "shutil.copy": Calls(shutil.copy, "/etc/hostname", str(canary)),
        "torch.save": Calls(torch.save, 1, str(canary)),
        "pickle in a pickle": Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {canary}"))),
        "torch.load": Calls(torch.load, "/proc/self/environ"),
    }


TARGETS: dict[str, dict[str, Any]] = {
    "os.system": {"_target_": "os.system", "command": "touch CANARY"},
    "subprocess": {"_target_": "subprocess.check_call", "args": ["touch", "CANARY"]},
    "eval": {"_target_": "builtins.eval", "_args_": ["open('CANARY','w')"]},
    "a class of the package that opens files": {"_target_": "unetkit.paths.whole_file", "path": "CANARY"},
    "a module within the package": {"_target_": "unetkit.models.unet.torch.save", "obj": 1, "f": "CANARY"},
    "a network whose part has a target": {"norm": {"_target_": "os.system", "command": "touch CANARY"}},
    "a network as partial": {"_partial_": True},
    "4 thousand million channels": {"channels": [2**16, 2**16]},
    "no channels": {"channels": []},
    "channels below 0": {"channels": [-4, 8]},
    "channels as text": {"channels": "4,8"},
    "a million levels": {"channels": [1] * 1_000_000},
    "10^12 classes": {"num_classes": 10**12},
    "an unknown argument": {"nonsense": 1},
    "no target": {"_target_": None},
}
PREPARATION: dict[str, dict[str, Any]] = {
    "10^9 channels": {"channels": 10**9},
    "mean of text": {"mean": ("a",)},
    "deviation of 0": {"std": (0.0,)},
    "range of NaN": {"value_range": (float("nan"), 1.0)},
    "unknown key": {"nonsense": 1},
}
TOP: dict[str, Any] = {
    "a list instead of metadata": [1],
    "text instead of metadata": "x",
    "metadata of format 99": {"format": 99},
    "threshold NaN": {"threshold": float("nan")},
    "threshold of text": {"threshold": "high"},
    "class names of code": {"data": {"name": "x", "class_names": ["<script>", "${oc.env:TORTURE_SECRET}"]}},
}


def changed(lab: Lab, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a good checkpoint with a change to its content."""
    content = torch.load(trained_once(lab) / "checkpoints" / "last.ckpt", weights_only=True)
    change(content)
    (lab.folder / "given").mkdir(exist_ok=True)
    torch.save(content, file := lab.folder / "given" / "last.ckpt")
    return file


def with_canary(node: Any, canary: Path) -> Any:
    """Return the same with CANARY replaced by a path."""
    if isinstance(node, dict):
        return {key: with_canary(value, canary) for key, value in node.items()}
    if isinstance(node, list) and len(node) < 100:
        return [with_canary(value, canary) for value in node]
    return node.replace("CANARY", str(canary)) if isinstance(node, str) else node


def commands(checkpoint: Path, lab: Lab) -> dict[str, list[str]]:
    """Return what is typed to use a checkpoint in each command, by the command."""
    place, run = trained_once(lab).parent / "set", lab.folder / "run"
    train = [
        "train", "data=folder", f"data.root={place}", "model=plain_small", "model.channels=[4,8]", "data.batch_size=4",
        "data.num_workers=0", "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false",
        f"hydra.run.dir={run}", f"data.cache_dir={lab.folder / 'cache'}",
    ]  # fmt: skip
    return {
        "predict": ["predict", f"checkpoint={checkpoint}", f"input={place / 'images'}", "output=out"],
        "weights": [*train, f"weights={checkpoint}"],
        "resume": [*train, f"checkpoint={checkpoint}"],
        "evaluate": ["evaluate", f"checkpoint={checkpoint}", f"input={place}", "output=out", "bootstrap=100"],
        "export": ["export", f"checkpoint={checkpoint}", "output=out.ckpt"],
    }


def without_harm(done: Done, lab: Lab) -> Result:
    """Judge a command by what it has left and said."""
    last = done.said.strip()[-300:]
    if (lab.folder / "canary").exists():
        return Result(False, "ran code of the file", last)
    if SECRET in done.said or SECRET in everything_written(lab.folder):
        return Result(False, "told a variable of the environment", last)
    if done.exceeded:
        return Result(False, f"exceeded the limit of {done.exceeded}", last)
    if "Traceback (most recent call last)" in done.said:
        return Result(False, "stack trace", last)
    if done.status not in (0, 1):
        return Result(False, f"ended with status {done.status}", last)
    return Result(True, "refused in one line" if done.status else "read, without harm", last)


def everything_written(folder: Path) -> str:
    """Return all text in the files of a folder."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return "".join(file.read_text(encoding="utf-8", errors="ignore") for file in files if file.stat().st_size < 10**7)


def opened(write: Callable[[Lab, Path], Path], command: str, lab: Lab) -> Result:
    """Use a hostile checkpoint in a command."""
    checkpoint = write(lab, lab.folder / "canary")
    environment = {"TORTURE_SECRET": SECRET}
    done = lab.program.run(*commands(checkpoint, lab)[command], cwd=lab.folder, environment=environment)
    return without_harm(done, lab)


def write_gadget(name: str, form: str, lab: Lab, canary: Path) -> Path:
    """Write a checkpoint with code in it: alone, as a bare pickle, or deep within a good checkpoint."""
    gadget = gadgets(canary)[name]
    if form == "within a good checkpoint":
        return changed(lab, lambda content: content["unetkit"].update(data={"name": gadget}))
    file = lab.folder / "last.ckpt"
    if form == "as a bare pickle":
        file.write_bytes(pickle.dumps({"state_dict": gadget}))
    else:
        torch.save({"state_dict": gadget}, file, _use_new_zipfile_serialization=form == "as a zip")
    return file


def write_metadata(part: str, update: Any, lab: Lab, canary: Path) -> Path:
    """Write a good checkpoint with other metadata."""

    def change(content: dict[str, Any]) -> None:
        if part == "model":
            content["unetkit"]["model"].update(with_canary(update, canary))
        elif part == "preprocessing":
            content["unetkit"]["preprocessing"].update(update)
        elif isinstance(update, dict):
            content["unetkit"].update(update)
        else:
            content["unetkit"] = update

    return changed(lab, change)


def write_bomb(lab: Lab, canary: Path) -> Path:
    """Write a zip of 4 GB of zeros as the pickle of a checkpoint."""
    file = lab.folder / "last.ckpt"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as member,
    ):
        for _ in range(400):
            member.write(bytes(10**7))
    return file


def write_large_tensor(lab: Lab, canary: Path) -> Path:
    """Write a checkpoint with a tensor of 10^12 values that all lie in one place of the memory."""
    return changed(lab, lambda content: content["state_dict"].update(large=torch.zeros(1).expand(10**12)))


def checkpoints() -> Iterator[tuple[str, Callable[[Lab, Path], Path]]]:
    """Yield hostile checkpoints: a name, and what writes it."""
    forms = ("as a zip", "as before torch 1.6", "as a bare pickle", "within a good checkpoint")
    names = list(gadgets(Path("canary")))
    for number, name in enumerate(names):
        for form in (forms[number % 4], forms[3]) if number % 4 != 3 else (forms[3],):
            yield f"{name}, {form}", partial(write_gadget, name, form)
    for part, table in (("model", TARGETS), ("preprocessing", PREPARATION), ("metadata", TOP)):
        for name, update in table.items():
            yield f"{part}: {name}", partial(write_metadata, part, update)
    yield "4 GB of zeros in a zip", write_bomb
    yield "a tensor of 10^12 values", write_large_tensor
