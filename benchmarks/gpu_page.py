"""The tables of what `scripts/gpu.sh` has measured; a cell without an answer says so."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured by scripts/gpu.sh: begin -->", "<!-- measured by scripts/gpu.sh: end -->"
EMPTY = "to be measured"
SMPS = ("SMP's way: NCHW fp32", "SMP's way: NCHW amp")
OURS = ("unetkit", "unetkit, one graph")
WAYS = {"unet_small": (*OURS, *SMPS), "unet_milesial": (*OURS, "milesial", "milesial --amp", *SMPS)}
LIBRARIES = (
    "unetkit DeviceAugmentation",
    "albumentations ElasticTransform",
    "elasticdeform",
    "MONAI Rand2DElastic",
    "kornia RandomElasticTransform",
)
TARGETS = {
    "0.549": ("experiment=tgs_quick",),
    "0.75": ("experiment=tgs_speedrun", "trainer.max_epochs=16", "trainer.check_val_every_n_epoch=16"),
    "0.80": ("experiment=tgs_speedrun",),
}
NARROW = "model.channels=[4,8]"
# What ISBI 2012 is trained with, and what makes it small to try it.
MEMBRANES = {
    "unet_paper": (["experiment=isbi2012_paper"], [NARROW]),
    "unet_large": (["experiment=isbi2012_paper", "model=unet_large"], [NARROW]),
    "modern": (["experiment=isbi2012_modern"], ["model.channels=[4,8,8]"]),
}
FOLDS = (
    "one-by-one",
    "two-at-once",
    "tgs_small",
    "tgs_best",
    "tgs_base",
    "tgs_base-strong",
    "tgs_small-48",
    "tgs_small-49",
)

Show = Callable[[Any], str]
Row = dict[str, Any]


def tables(folder: Path) -> str:
    """Return all tables, in Markdown, of the answers in a folder."""
    answers = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    failures = {file.stem: file.read_text(encoding="utf-8").strip() for file in sorted(folder.glob("*.failed"))}
    blocks = [
        machines(answers),
        "Training step at 128 px, batch 32. *One graph* is what `trainer.step=auto` does on a GPU; the others start "
        "each operation by itself, and read the loss at each step:",
        steps(answers),
        "The whole `train.py experiment=tgs_small`, fold 0, files decoded anew; *process*: from its start to its end, "
        "of 30 epochs (`graph`) or 8 (`eager`); *with the rest*: with validations, pictures and checkpoints:",
        speeds(answers),
        "From the start of the process until Kaggle's score on fold 0, flips averaged, is exceeded. `tgs_speedrun` is "
        "scored once, at the end of a run whose length was chosen before:",
        targets(answers),
        "Elastic deformation at 101 px, with equal displacement:",
        elastic(answers),
        "Gradient checkpointing of `unet_large`, 8 images of 512 px:",
        checkpointing(answers),
        "Crops of 512 px of JPEG photographs of about 1,000 px, `unet_large`, batch 8:",
        loading(answers),
        "Membranes of ISBI 2012 (`--isbi DIR`): slices 0 to 3, trained on 4 to 19, seven rotations averaged:",
        membranes(folder),
        "Cross-validations of 400 epochs, out of fold, flips averaged; the first two are of 40 epochs of `tgs_small`, "
        "for the time alone: of folds trained at once, each takes the seconds of all of them:",
        folds(folder),
        *(f"`{name}` has no answer: {said}." for name, said in failures.items()),
    ]
    return "\n\n".join(blocks) + "\n"


def fill_page(page: Path, folder: Path) -> None:
    """Put the tables between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n{tables(folder)}\n{END}{tail}", encoding="utf-8")


def machines(answers: dict[str, Any]) -> str:
    """Say on which machines the answers were found."""
    found = {
        f"{about['device']}, torch {about['versions']['torch']}, {about['date']}": None
        for about in (answer.get("machine") for answer in answers.values())
        if about
    }
    return f"Measured on: {'; '.join(found)}." if found else "Nothing was measured yet."


def steps(answers: dict[str, Any]) -> str:
    """Return the table of training steps."""
    lines = []
    for network, ways in WAYS.items():
        for way in ways:
            row = row_of(answers, f"step-{network}", way=way)
            lines.append([f"`{network}`", way, *cells(row, ("ms/step", "images/s", "time / unetkit's"), number)])
    return table(["network", "way", "ms a step", "images/s", "time / unetkit's"], lines)


def speeds(answers: dict[str, Any]) -> str:
    """Return the table of images/s of the whole train.py."""
    keys = ("images/s", "with the rest", "waits for data", "process, s")
    shows = (number, number, share, number)
    lines = []
    for step in ("graph", "eager"):
        for batch in (32, 256):
            row = row_of(answers, f"speed-{batch}-{step}")
            lines.append([f"`trainer.step={step}`", str(batch), *cells(row, keys, shows)])
    return table(["`train.py`", "batch", "images/s", "with the rest", "waits for data", "process, s"], lines)


def targets(answers: dict[str, Any]) -> str:
    """Return the table of seconds to scores."""
    lines = []
    for target, overrides in TARGETS.items():
        answer = answers.get(f"until-{target}")
        first: Row | None = answer and next((row for row in answer["rows"] if row["kaggle"] > float(target)), {})
        wanted = ["not exceeded"] * 3 if first == {} else cells(first, ("seconds", "images", "kaggle"), number)
        lines.append([f"`{' '.join(overrides)}`", target, *wanted])
    return table(["`train.py`", "score", "seconds", "images", "score then"], lines)


def elastic(answers: dict[str, Any]) -> str:
    """Return the table of elastic deformation."""
    lines = [
        [library, *cells(row_of(answers, "elastic", library=library), ("images/s", "RMS, px"), number)]
        for library in LIBRARIES
    ]
    return table(["library", "pairs/s", "RMS px"], lines)


def checkpointing(answers: dict[str, Any]) -> str:
    """Return the table of gradient checkpointing: memory against time."""
    keys, shows = ("of none", "peak MiB", "time of none"), (share, number, number)
    lines = [
        [level, *cells(row_of(answers, "checkpointing", level=level), keys, shows)]
        for level in ("none", "1", "2", "3", "4", "all")
    ]
    return table(["`gradient_checkpointing`", "kept", "peak MiB", "time / that of none"], lines)


def loading(answers: dict[str, Any]) -> str:
    """Return the table of waiting for data."""
    parts = ("decode", "augment", "transfer")
    keys = ("images/s", "waits for data", *(f"of it {part}" for part in parts))
    shows = (number, share, share, share, share)
    return table(["images/s", "waits for data", *parts], [cells(row_of(answers, "loading"), keys, shows)])


def folds(folder: Path) -> str:
    """Return the table of cross-validations."""
    lines = []
    for name in FOLDS:
        file = folder / "folds" / name / "summary.json"
        row: Row | None = None
        if file.exists():
            summary = json.loads(file.read_text(encoding="utf-8"))
            value, low, high = summary["models"]["out of fold"]["scores"]["per_image/kaggle"].values()
            seconds = [fold["seconds"] for fold in summary["folds"].values()]
            row = {"score": f"{value:.4f} ({low:.4f} to {high:.4f})", "folds": len(seconds), "s": max(seconds)}
        lines.append([f"`{name}`", *cells(row, ("folds", "score", "s"), (str, str, number))])
    return table(["recipe", "folds", "Kaggle's score (95 % interval)", "longest fold, s"], lines)


def membranes(folder: Path) -> str:
    """Return the table of ISBI 2012."""
    lines = []
    for name, (recipe, _) in MEMBRANES.items():
        file = folder / "isbi2012" / name / "summary.json"
        row: Row | None = None
        if file.exists():
            summary = json.loads(file.read_text(encoding="utf-8"))
            row = summary["folds"]["fold-0"]
        lines.append([f"`{' '.join(recipe)}`", *cells(row, ("v_rand", "v_info", "pixel_error"), exact)])
        lines[-1] += cells(row, ("seconds",), number)
    return table(["recipe", "V_rand", "V_info", "pixel error", "s"], lines)


def row_of(answers: dict[str, Any], name: str, **values: str) -> Row | None:
    """Return the row of an answer that has these values; None without an answer, empty without such a row."""
    if name not in answers:
        return None
    rows: list[Row] = answers[name]["rows"]
    return next((row for row in rows if values.items() <= row.items()), {})


def cells(row: Row | None, keys: Iterable[str], shows: Show | Iterable[Show]) -> list[str]:
    """Return the cells of a row: what it says, or why it says nothing."""
    keys = list(keys)
    if row is None:
        return [EMPTY] * len(keys)
    each = [shows] * len(keys) if callable(shows) else list(shows)
    return ["left out" if row.get(key) is None else show(row[key]) for key, show in zip(keys, each, strict=True)]


def exact(value: float) -> str:
    """Format a score with four digits."""
    return f"{value:.4f}"


def number(value: float) -> str:
    """Format a number with three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def share(value: float) -> str:
    """Format a share."""
    return f"{value:.1%}".replace("%", " %")


def table(columns: list[str], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *lines))


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    fill_page(root / "docs" / "performance.md", root / "results" / "gpu")
