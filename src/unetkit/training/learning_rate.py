"""Find a learning rate by a range test: train with a rate that rises at each step, and watch the loss.

Smith 2017, *Cyclical Learning Rates for Training Neural Networks*, section 3.3. Lightning's `Tuner` takes the steps.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from lightning.pytorch.tuner.tuning import Tuner
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from omegaconf import DictConfig

from unetkit.errors import UserError, check, enough_memory, is_whole
from unetkit.paths import whole_file
from unetkit.training.run import LESS_MEMORY
from unetkit.training.trial import trial

SKIPPED = 10  # first steps, in which the mean of the losses has not settled
LEAST_STEPS = 50
WINDOW = 15  # steps over which a slope is fitted


class RangeTest(NamedTuple):
    """What a range test has found.

    Attributes:
        rates: Learning rates, rising.
        losses: Running mean of the loss at each of them.
        proposed: The rate at which the loss falls most steeply.
    """

    rates: list[float]
    losses: list[float]
    proposed: float


def find_learning_rate(cfg: DictConfig, least: float, most: float, steps: int) -> RangeTest:
    """Train for some steps while the rate rises from `least` to `most`, each step by the same factor.

    The test ends early if the loss has risen to four times its lowest value. Nothing of the training is kept.

    Args:
        cfg: The configuration of a training.
        least: First learning rate.
        most: Last learning rate.
        steps: Number of steps of the optimiser.

    Raises:
        UserError: If the configuration or the data have a mistake, or the loss never falls.
    """
    check("steps", steps, is_whole(steps, LEAST_STEPS), f"a whole number of at least {LEAST_STEPS}")
    check("least", f"{least} most={most}", 0 < least < most, "above 0, and less than most")
    memory = enough_memory(f"data.batch_size={cfg.data.batch_size}", LESS_MEMORY)
    with memory, trial(cfg) as (trainer, module, data):
        found = Tuner(trainer).lr_find(
            module, datamodule=data, min_lr=least, max_lr=most, num_training=steps, update_attr=False
        )
    assert found is not None  # narrows the type for mypy: only with fast_dev_run
    rates, losses = found.results["lr"][: len(found.results["loss"])], found.results["loss"]
    return RangeTest(rates, losses, propose(rates, losses))


def propose(rates: ArrayLike, losses: ArrayLike) -> float:
    """Return the rate at which the loss falls most steeply over the logarithm of the rate, rounded to two digits.

    Raises:
        UserError: If the loss never falls.
    """
    is_usable = np.isfinite(losses)
    is_usable[:SKIPPED] = False
    logs, curve = np.log(rates)[is_usable], np.asarray(losses)[is_usable]
    slopes = np.array(
        [np.polyfit(logs[i : i + WINDOW], curve[i : i + WINDOW], 1)[0] for i in range(len(curve) - WINDOW)]
    )
    if not len(slopes) or slopes.min() >= 0:
        fix = "give a lower least=, more steps=, or look for a mistake in masks and loss with unetkit doctor"
        raise UserError("the loss", "does not fall at any learning rate of the test", fix)
    middle = int(slopes.argmin()) + WINDOW // 2
    return float(f"{np.exp(logs[middle]):.2g}")


def draw_range_test(found: RangeTest, picture: Path) -> None:
    """Draw the loss over the learning rate as a PNG, with the proposed rate."""
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(found.rates[SKIPPED:], found.losses[SKIPPED:])
        axes.axvline(found.proposed, color="tab:red", label=f"optimizer.lr={found.proposed:g}")
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss, running mean")
        axes.grid(alpha=0.3)
        axes.legend()
        with whole_file(picture) as part:
            figure.savefig(part, format="png", dpi=110)
