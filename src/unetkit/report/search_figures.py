"""Draw a search: the score of each trial in order, and how much each setting matters."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unetkit.report.figures import COLOURS, HEIGHT, WIDTH
from unetkit.report.sweep import Sweep
from unetkit.report.sweep_figures import short


def history(sweep: Sweep, *, is_lower_better: bool) -> Figure | None:
    """Draw the score of each trial by its number, with the best so far; None if no trial has a score."""
    scored = {int(run.name.rpartition("-")[2]): run.score for run in sweep.runs if run.score is not None}
    if not scored:
        return None
    numbers = sorted(scored)
    scores = [scored[number] for number in numbers]
    better = min if is_lower_better else max
    best = [better(scores[: place + 1]) for place in range(len(scores))]
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    axes.plot(numbers, scores, "o", color=COLOURS[0], label="trial")
    axes.step(numbers, best, where="post", color=COLOURS[1], label="best so far")
    others = [int(run.name.rpartition("-")[2]) for run in sweep.runs if run.status in ("pruned", "failed")]
    if others:
        low = min(scores) - 0.05 * (max(scores) - min(scores) or 1)
        axes.plot(others, [low] * len(others), "x", color="0.5", label="pruned or failed")
    axes.set(xlabel="trial", ylabel=sweep.monitor)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def importance(shares: Mapping[str, float]) -> Figure | None:
    """Draw the share of each setting in the differences of the score, the largest on top; None if none is known."""
    if not shares:
        return None
    ordered = sorted(shares.items(), key=lambda share: share[1])
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    axes.barh([short(key) for key, _ in ordered], [share for _, share in ordered], color=COLOURS[0], height=0.6)
    axes.set(xlabel="share in the differences of the score", xlim=(0, 1))
    axes.grid(alpha=0.3, axis="x")
    return figure
