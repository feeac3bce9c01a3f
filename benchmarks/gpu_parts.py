"""The parts of `scripts/gpu.sh`, the most telling first: what each measures, its command, and its limit of time."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu_page import MEMBRANES, TARGETS

ROOT = Path(__file__).resolve().parents[1]
TINY = ["model=plain_small", "model.channels=[4,8]", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Attributes:
        name: Name of its answer's file.
        arguments: What follows `python -m` in its command.
        limit: Most seconds that it may take.
        least: Seconds without which it is not worth starting.
        answer: The file that the command leaves, relative to the folder of answers; it is the answer itself if it is
            called `NAME.json`.
    """

    name: str
    arguments: list[str]
    limit: int
    least: int = 20
    answer: str = field(default="")

    @property
    def left(self) -> str:
        """The file whose existence says that the part is done."""
        return self.answer or f"{self.name}.json"


def parts(data: Path, clone: Path | None, device: str, output: Path, isbi: Path | None = None) -> list[Part]:
    """Return all parts, with tiny settings on a CPU, where only the way from end to end is of interest."""
    is_gpu = device == "cuda"

    def ask(name: str, question: str, limit: int, *options: str) -> Part:
        fixed = ["benchmarks", question, "--device", device, "--output", str(output / f"{name}.json")]
        return Part(name, [*fixed, *options], limit if is_gpu else 3 * limit)

    def speed(batch: int, step: str, epochs: int) -> Part:
        epochs = epochs if is_gpu else 2
        ours = ["experiment=tgs_small", f"data.batch_size={batch}", f"trainer.step={step}"]
        ours += [f"trainer.max_epochs={epochs}", f"trainer.check_val_every_n_epoch={epochs}"]
        return ask(
            f"speed-{batch}-{step}", "speed", 90, "--data", str(data), "--ours", *ours, *([] if is_gpu else TINY)
        )

    def until(target: str, *ours: str) -> Part:
        chosen = ["--data", str(data), "--tta", "flip", "--targets", target, "--ours", *ours]
        tiny = [*TINY, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
        return ask(f"until-{target}", "quality", 90, *chosen, *([] if is_gpu else tiny))

    clones = [] if clone is None else ["--milesial", str(clone)]
    step = ["--rounds", "5"] if is_gpu else ["--rounds", "1", "--size", "32", "--batch", "1", "--seconds", "0.01"]
    crops = ["--images", "64"] if is_gpu else ["--images", "6", "--side", "100", "--crop", "64", "--batch", "2"]
    memory = ["--sizes", "512", "--timed", "512", "--batch", "8"]
    return [
        Part(
            "tests", ["pytest", "-o", "addopts=-q", "-m", "gpu", "--durations=0", *gpu_tests()], 150, answer="tests.xml"
        ),
        ask("step-unet_small", "quick_step", 90, "--cases", "unet_small", *step, *clones),
        ask("step-unet_milesial", "quick_step", 90, "--cases", "unet_milesial", *step, *clones),
        speed(32, "graph", 30),
        speed(256, "graph", 30),
        speed(32, "eager", 8),
        speed(256, "eager", 8),
        *(until(target, *overrides) for target, overrides in TARGETS.items()),
        ask("elastic", "augment", 90, "--sizes", "101", "--rounds", "3", "--count", "1024" if is_gpu else "2"),
        ask(
            "checkpointing",
            "memory",
            90,
            *(memory if is_gpu else ["--model", "plain_small", "--sizes", "32", "--timed", "32"]),
        ),
        ask("loading", "loading", 90, *crops, *([] if is_gpu else ["--epochs", "2", "--ours", *TINY])),
        *([] if isbi is None else membranes(isbi, output, is_gpu)),
        *(cross_validations(data, output, is_gpu)),
    ]


def gpu_tests() -> list[str]:
    """Return the test files that need a GPU; collecting others would need what tests of a GPU don't."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file) for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]


def membranes(data: Path, output: Path, is_gpu: bool) -> list[Part]:
    """Return the U-Net paper's recipe and today's on one block of ISBI 2012; each goes on where a call stopped."""
    fixed = ["unetkit", "cross-validate", f"data.root={data}", "cross_validation.folds=[0]"]
    fixed += ["cross_validation.tta=rotations", f"data.cache_dir={output / 'cache'}"]
    tiny = ["trainer.accelerator=cpu", "data.crop_size=64", "trainer.max_steps=2", "cross_validation.bootstrap=100"]
    return [
        Part(
            f"isbi2012-{name}",
            [*fixed, *recipe, *([] if is_gpu else [*tiny, *small]), f"hydra.run.dir={output / 'isbi2012' / name}"],
            limit=3600,
            answer=f"isbi2012/{name}/summary.json",
        )
        for name, (recipe, small) in MEMBRANES.items()
    ]


def cross_validations(data: Path, output: Path, is_gpu: bool) -> list[Part]:
    """Return the cross-validations, which go on where an earlier call stopped."""
    short = ["experiment=tgs_small", "cross_validation.folds=[0,1]", "trainer.max_epochs=40"]
    short += ["trainer.check_val_every_n_epoch=40"]
    recipes = {
        "one-by-one": [*short, "cross_validation.at_once=1"],
        "two-at-once": [*short, "cross_validation.at_once=2"],
        "tgs_small": ["experiment=tgs_small"],
        "tgs_best": ["experiment=tgs_best"],
        "tgs_base": ["experiment=tgs_base"],
        # tgs_base loses score towards the end of 160 epochs (results/ablations.md): does this prevent it?
        "tgs_base-strong": ["experiment=tgs_base", "augment=strong_device", "cross_validation.folds=[0,1]"],
        "tgs_small-48": ["experiment=tgs_small", "seed=48", "data.seed=47"],
        "tgs_small-49": ["experiment=tgs_small", "seed=49", "data.seed=47"],
    }
    length = ["trainer.max_epochs=400", "trainer.check_val_every_n_epoch=20"]
    if not is_gpu:
        recipes = {"tgs_small": [*recipes["tgs_small"], "data.folds=2", *TINY]}
        length = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.accelerator=cpu"]
    fixed = ["unetkit", "cross-validate", f"data.root={data}", *length, f"data.cache_dir={output / 'cache'}"]
    return [
        Part(
            f"folds-{name}",
            [*fixed, *recipe, f"hydra.run.dir={output / 'folds' / name}"],
            limit=3600,
            answer=f"folds/{name}/summary.json",
        )
        for name, recipe in recipes.items()
    ]
