"""Runs that are killed at chosen and at random moments, resumed, and compared with one that was not interrupted."""

import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from faults.cases import Case, Fault, Lab, Result
from faults.comparing import differences, leftovers, lost_rows, unreadable
from faults.moments import PLACES, Count, Moment, Place
from faults.program import Done, Running, second_device

TINY = [
    "train", "model=plain_small", "model.channels=[4,8]", "model.dropout=0.3", "data.count=16", "data.size=16",
    "data.batch_size=2", "data.num_workers=0", "optimizer.lr=0.01",
    "trainer.max_epochs=4", "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
]  # fmt: skip
RECIPES: dict[str, list[str]] = {
    "plain": [],
    "two workers": ["data.num_workers=2", "augment=strong"],
    "averaged weights": ["callbacks=ema", "scheduler=onecycle"],
    "saved every 2 steps": ["checkpoint_every=2"],
}
CHOSEN = Fault("SIGKILL at a chosen moment", "the process kills itself just before or after a call")
RANDOM = Fault("SIGKILL at a random moment", "from outside, at any time of the run")
TWICE = Fault("SIGKILL, and again while it resumes", "both at chosen moments")
EQUAL = "resumed, equal to the bit"
LOST_ROW = f"{EQUAL}, but a row of metrics.csv is lost"


@dataclass
class Whole:
    """The run of a recipe that is not interrupted, made once.

    Attributes:
        typed: What is typed for the recipe.
        run: Its run directory, once it is made.
        calls: The number of calls of each place in it.
        seconds: The time it took.
    """

    typed: list[str]
    run: Path | None = None
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def make(self, lab: Lab) -> Path:
        """Run it, unless that has been done, and return its run directory."""
        with self.lock:
            if self.run is None:
                place = Path(tempfile.mkdtemp(prefix="whole-", dir=lab.folder.parent))
                moment = Count(place / "calls.json")
                train(lab, self.typed, place / "first")  # decodes the images, which the others find in the cache
                counted = train(lab, self.typed, place / "counted", moment=moment)
                timed = train(lab, self.typed, place / "run")
                assert counted.status == timed.status == 0, counted.said + timed.said
                self.calls = json.loads(moment.file.read_text(encoding="utf-8"))
                self.seconds, self.run = timed.seconds, place / "run"
            return self.run


WHOLE = {name: Whole([*TINY, *options]) for name, options in RECIPES.items()}


def train(
    lab: Lab,
    typed: list[str],
    run: Path,
    *more: str,
    environment: Mapping[str, str] | None = None,
    moment: Moment | Count | None = None,
    kill_after: float | None = None,
) -> Done:
    """Run a training command; kill it after some seconds."""
    places = [f"hydra.run.dir={run}", f"data.cache_dir={lab.folder.parent / 'cache'}"]
    running = lab.program.start(*typed, *places, *more, cwd=lab.folder, environment=environment, moment=moment)

    def kill(running: Running) -> None:
        if kill_after is not None and time.monotonic() - running.began > kill_after:
            running.send(signal.SIGKILL)

    return running.end(kill)


@dataclass(frozen=True)
class Kills:
    """A run that is killed and resumed.

    Attributes:
        seed: Decides the moments.
        recipe: Name of the recipe.
        places: Where it is killed, one after the other; None for a random time.
        is_elsewhere: Whether TMPDIR lies on another device.
    """

    seed: str
    recipe: str
    places: tuple[Place | None, ...]
    is_elsewhere: bool

    def __call__(self, lab: Lab) -> Result:
        """Kill, resume and compare."""
        device = second_device() if self.is_elsewhere else None
        temporary = Path(tempfile.mkdtemp(prefix="torture-", dir=device or lab.folder))
        try:
            return self.attempt(lab, temporary)
        finally:
            shutil.rmtree(temporary)

    def attempt(self, lab: Lab, temporary: Path) -> Result:
        """Do it with a folder for temporary files."""
        whole, chance = WHOLE[self.recipe], random.Random(self.seed)
        expected, run = whole.make(lab), lab.folder / "run"
        environment = {"TMPDIR": str(temporary)}
        more: list[str] = []
        for place in self.places:
            done = self.kill(lab, place, more, chance, environment)
            if done.status != -signal.SIGKILL:
                return Result(False, f"was not killed, status {done.status}", done.said[-300:])
            if broken := unreadable(run / "checkpoints"):
                return Result(False, "a broken checkpoint", ", ".join(broken))
            more = ["checkpoint=auto"]
        done = train(lab, whole.typed, run, *more, environment=environment)
        if done.status:
            return Result(False, "was not resumed", done.said[-300:])
        if found := differences(run, expected):
            return Result(False, "resumed, but not the same", ", ".join(found[:5]))
        if left := leftovers(run) + leftovers(temporary):
            return Result(False, "left parts of files", ", ".join(left))
        return Result(True, EQUAL if not lost_rows(run, expected) else LOST_ROW)

    def kill(
        self, lab: Lab, place: Place | None, more: list[str], chance: random.Random, environment: Mapping[str, str]
    ) -> Done:
        """Run until the process is killed."""
        whole, run = WHOLE[self.recipe], lab.folder / "run"
        if place is not None:
            # What is resumed may have fewer calls left than a whole run.
            number = chance.randint(1, 1 if more else whole.calls[place.key])
            return train(lab, whole.typed, run, *more, environment=environment, moment=Moment(place, number))
        seconds = chance.uniform(0.05, 0.95) * whole.seconds
        done = train(lab, whole.typed, run, *more, environment=environment, kill_after=seconds)
        while done.status == 0:  # this time it was faster
            seconds *= 0.7
            shutil.rmtree(run)
            done = train(lab, whole.typed, run, *more, environment=environment, kill_after=seconds)
        return done


def cases(seed: int) -> Iterator[Case]:
    """Yield the cases: each place with each recipe, random times, and kills of resumed runs."""
    names = list(RECIPES)
    for number, place in enumerate(PLACES):
        for turn, recipe in enumerate(names):
            elsewhere = (number + turn) % 2 == 0
            name = f"{place.about}, {recipe}"
            is_short = recipe == "plain" and place.about in ("within a save", "in validation")
            yield Case(CHOSEN, name, Kills(f"{seed} {name}", recipe, (place,), elsewhere), is_short)
    for number in range(18):
        name = f"random time {number}, {names[number % len(names)]}"
        yield Case(
            RANDOM, name, Kills(f"{seed} {name}", names[number % len(names)], (None,), number % 2 == 0), number == 0
        )
    for number, (first, second) in enumerate(zip(PLACES[3:10], PLACES[5:12], strict=True)):
        name = f"{first.about}, then {second.about}"
        yield Case(TWICE, name, Kills(f"{seed} {name}", names[number % len(names)], (first, second), number % 2 == 0))
