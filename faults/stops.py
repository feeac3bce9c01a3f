"""Runs that are asked to stop, by a signal or at the end of their time, and started again by the same command."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from faults.cases import Case, Fault, Lab, Result
from faults.comparing import differences, leftovers, lost_rows, unreadable
from faults.kills import EQUAL, RECIPES, WHOLE, train
from faults.moments import PLACES, Moment, Place, terminate, warn

TERMINATED = Fault("SIGTERM", "at a chosen moment; then the same command with `checkpoint=auto`")
WARNED = Fault("SIGUSR1, then a requeue by SLURM", "at a chosen moment; then the same command, with its variables set")
TIMED = Fault("`trainer.max_time` is over", "within an epoch; then the same command with `checkpoint=auto`")
OVER = "trainer.max_time is over"
REQUEUED = {"SLURM_RESTART_COUNT": "1"}
MOST_STARTS = 30  # a run has 24 steps, and takes one at least at each start, however long it takes to start
WITHIN_EPOCHS = ("training_step", "step", "validation_step", "save", "fsync", "replace")


@dataclass(frozen=True)
class Stops:
    """A run that stops in order and is started again.

    Attributes:
        seed: Decides the moment.
        recipe: Name of the recipe.
        place: Where it is stopped.
        action: What happens then.
        typed: What is typed besides, both times.
        again: What is typed besides, the second time.
        environment: Variables of the second time.
    """

    seed: str
    recipe: str
    place: Place
    action: Callable[[], object]
    typed: tuple[str, ...] = ()
    again: tuple[str, ...] = ("checkpoint=auto",)
    environment: tuple[tuple[str, str], ...] = ()

    def __call__(self, lab: Lab) -> Result:
        """Stop, start again and compare."""
        whole, run = WHOLE[self.recipe], lab.folder / "run"
        expected = whole.make(lab)
        number = random.Random(self.seed).randint(1, whole.calls[self.place.key])
        moment = Moment(self.place, number, self.action)
        done = train(lab, whole.typed, run, *self.typed, moment=moment)
        if "Traceback" in done.said or done.exceeded:
            return Result(False, "stack trace, or too long", done.said[-300:])
        if broken := unreadable(run / "checkpoints"):
            return Result(False, "a broken checkpoint", ", ".join(broken))
        if lost := self.lost_steps(lab, number):
            return Result(False, "steps are lost", f"{lost} after call {number}: {done.said[-200:]}")
        environment = dict(self.environment)
        for _ in range(MOST_STARTS):  # its time may be over again
            if (run / "summary.json").exists() and OVER not in done.said:
                break
            done = train(lab, whole.typed, run, *self.typed, *self.again, environment=environment)
        if not (run / "summary.json").exists() or OVER in done.said:
            return Result(False, "was not resumed", done.said[-300:])
        if found := differences(run, expected) + leftovers(run):
            return Result(False, "resumed, but not the same", ", ".join(found[:5]))
        return Result(not lost_rows(run, expected), f"saved at that step; {EQUAL}")

    def lost_steps(self, lab: Lab, number: int) -> int:
        """Return how many steps are done and not saved."""
        if self.place.function != "training_step" or self.action not in (terminate, warn):
            return 0
        file = lab.folder / "run" / "checkpoints" / "last.ckpt"
        saved = torch.load(file, weights_only=True)["global_step"] if file.exists() else 0
        return max(0, number - 1 - int(saved))


def cases(seed: int) -> Iterator[Case]:
    """Yield the cases: both signals at each place within epochs, and the end of the time."""
    names = list(RECIPES)
    places = [place for place in PLACES if place.function in WITHIN_EPOCHS and not place.key.endswith("write_json")]
    for number, place in enumerate(places):
        recipe = names[number % len(names)]
        name = f"{place.about}, {recipe}"
        yield Case(TERMINATED, name, Stops(f"{seed} {name}", recipe, place, terminate), number == 0)
        stops = Stops(f"{seed} {name} w", recipe, place, warn, again=(), environment=tuple(REQUEUED.items()))
        yield Case(WARNED, name, stops, number == 0)
    step = next(place for place in PLACES if place.function == "training_step")
    for recipe in names:
        typed = ("trainer.max_time=00:00:00:05",)
        yield Case(TIMED, recipe, Stops(f"{seed} {recipe}", recipe, step, partial(time.sleep, 6), typed))
