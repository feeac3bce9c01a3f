"""Files of a stranger who means harm: checkpoints, configurations of runs, zips, names that are code in a page."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from faults.cases import Case, Fault, Lab, Result
from faults.data import trained_once
from faults.hostile_checkpoints import CHECKPOINT, SECRET, checkpoints, commands, opened, without_harm
from faults.odd_bytes import encoded
from faults.odd_sets import image, mask, write_pairs

CONFIG = Fault("a run directory whose `config.yaml` is hostile", "`evaluate`, and `checkpoint=` of a resumed run")
ARCHIVE = Fault("a zip whose members lead elsewhere", "`predict`")
PAGE = Fault("file names that are code in a page", "`evaluate`, and its report")


def bomb_of_aliases() -> str:
    """Return YAML of 200 characters that stands for 10^9 words."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines)


# What is added to the file, or replaces it, in a function of its text and the canary.
CONFIGS: dict[str, Callable[[str, Path], str]] = {
    "aliases for 10^9 words": lambda text, canary: text + "\n" + bomb_of_aliases(),
    "aliases for 10^9 words, in data": lambda text, canary: bomb_of_aliases() + "\ndata: *a8\n",
    "code in a tag": lambda text, canary: text + f"\nx: !!python/object/apply:os.system ['touch {canary}']\n",
    "code in a tag, in data": lambda text, canary: f"data: !!python/object/apply:os.system ['touch {canary}']\n",
    "variable of the environment": lambda text, canary: put(text, "name", "${oc.env:TORTURE_SECRET}"),
    "variable in a class name": lambda text, canary: put(text, "class_names", ["${oc.env:TORTURE_SECRET}"]),
    "decoded variable": lambda text, canary: put(text, "name", "${oc.decode:${oc.env:TORTURE_SECRET}}"),
    "data from a target": lambda text, canary: put(text, "_target_", "os.system", command=f"touch {canary}"),
    "pairs from a target": lambda text, canary: put(
        text, "pairs", {"_target_": "os.system", "command": f"touch {canary}"}
    ),
    "foreign cache": lambda text, canary: put(text, "cache_dir", str(canary)),
    "reference to itself": lambda text, canary: put(text, "name", "${data.name}"),
    "10,000 levels": lambda text, canary: text + "\nx: " + "[" * 10_000 + "]" * 10_000 + "\n",
    "a list": lambda text, canary: "- 1\n- 2\n",
    "empty": lambda text, canary: "",
    "no YAML": lambda text, canary: "{[: -",
    "no text": lambda text, canary: "\x00\x01\ud7ff",
    "100 MB": lambda text, canary: text + "\nx: " + "a" * 100_000_000 + "\n",
    "number of 10^5 digits": lambda text, canary: put(text, "seed", 1) + "\ny: " + "9" * 100_000 + "\n",
    "merged keys": lambda text, canary: text + "\nz: {<<: [*nowhere]}\n",
}


def put(text: str, key: str, value: Any, **more: Any) -> str:
    """Return the configuration with another value of a key of `data`."""
    content = yaml.safe_load(text)
    content["data"] = {**content["data"], key: value, **more}
    return str(yaml.safe_dump(content))


def configured(name: str, command: str, lab: Lab) -> Result:
    """Use a run directory with a hostile configuration."""
    run, canary = lab.folder / "run", lab.folder / "canary"
    shutil.copytree(trained_once(lab), run)
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(CONFIGS[name](text, canary), encoding="utf-8")
    typed = (
        commands(run, lab)["resume"]
        if command == "resume"
        else ["evaluate", f"checkpoint={run}", "output=out", "bootstrap=100"]
    )
    done = lab.program.run(*typed, cwd=lab.folder, environment={"TORTURE_SECRET": SECRET})
    # The stranger's own file may hold the name of the variable, and nothing holds its value.
    return without_harm(done, lab)


MEMBERS = {
    "drive letter": "C:\\p.png",
    "drive letter and slash": "C:/p.png",
    "drive letter without a slash": "C:p.png",
    "share of a network": "\\\\host\\share\\p.png",
    "absolute": "/p.png",
    "leads out": "../../../p.png",
    "leads out in the middle": "images/../../../p.png",
    "leads out with backslashes": "..\\..\\p.png",
    "stream of Windows": "p.png:hidden.png",
    "device of Windows": "CON.png",
    "null byte": "p\x00.png",
    "line break and escape codes": "p\n\x1b[31m.png",
    "300 characters": "a" * 300 + ".png",
    "200 folders": "a/" * 200 + "p.png",
    "only a suffix": ".png",
    "dots": "...png",
}


def unpacked(name: str, lab: Lab) -> Result:
    """Predict a zip, and see that masks are written to the output folder only."""
    place = lab.folder / "a" / "b" / "c" / "d"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "given.zip", "w") as archive:
        for number, member in enumerate((MEMBERS[name], "good.png")):
            archive.writestr(member, encoded(image(number)))
    before = set(lab.folder.rglob("*"))
    typed = ["predict", f"checkpoint={trained_once(lab)}", "input=given.zip", "output=out"]
    done = lab.program.run(*typed, cwd=place)
    written = {path for path in set(lab.folder.rglob("*")) - before if not path.is_relative_to(place / "out")}
    if outside := [path for path in written if path.suffix != ".log"]:
        return Result(False, "wrote outside of the output folder", str(outside[0]))
    odd = [path.name for path in place.rglob("out/**/*") if ":" in path.name or "\\" in path.name]
    return Result(False, "wrote a name that is a path on Windows", odd[0]) if odd else without_harm(done, lab)


def reported(name: str, lab: Lab) -> Result:
    """Evaluate images whose names are code in HTML."""
    write_pairs(lab.folder / "set")
    for folder, make in (("images", image), ("masks", mask)):
        (lab.folder / "set" / folder / f"{name}.png").write_bytes(encoded(make(9)))
    typed = [f"checkpoint={trained_once(lab)}", f"input={lab.folder / 'set'}", "output=out", "bootstrap=100"]
    done = lab.program.run("evaluate", *typed, cwd=lab.folder)
    report = lab.folder / "out" / "report.html"
    if done.status or not report.exists():
        return Result(False, "not evaluated", done.said[-300:])
    is_raw = name in report.read_text(encoding="utf-8")
    return Result(not is_raw, "in the page as code" if is_raw else "in the page as text")


PAGES = [
    "<script>alert(1)<script>",
    "<img src=x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}<b>",
]


def cases(seed: int) -> Iterator[Case]:
    """Yield the cases."""
    names = ("predict", "weights", "resume", "evaluate", "export")
    for number, (name, write) in enumerate(checkpoints()):
        for command in ("predict", names[1 + number % 4]):
            yield Case(CHECKPOINT, f"{name}, {command}", partial(opened, write, command), number in (0, 14))
    for number, name in enumerate(CONFIGS):
        for command in ("evaluate", "resume"):
            yield Case(CONFIG, f"{name}, {command}", partial(configured, name, command), number == 4)
    for name in MEMBERS:
        yield Case(ARCHIVE, name, partial(unpacked, name), name == "leads out")
    for name in PAGES:
        yield Case(PAGE, name, partial(reported, name))
