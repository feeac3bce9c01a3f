"""Learning-rate schedules over a known number of steps that torch lacks or spreads over several objects."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> LambdaLR:
    """Raise the rate linearly to the optimiser's, then lower it by half a cosine (Loshchilov & Hutter 2017, eq. 5).

    Args:
        optimizer: The optimiser whose rates are set.
        total_steps: Steps of the whole run.
        warmup: Share of the steps in which the rate rises.
        final: Last rate, as a share of the optimiser's.

    Raises:
        ValueError: If `warmup` is no such share, or `final` is below 0.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup} must be a share of the steps, at least 0 and below 1")
    if final < 0:
        raise ValueError(f"final={final} must be at least 0")
    rising = max(round(warmup * total_steps), 1)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        progress = min((step - rising) / max(total_steps - rising, 1), 1)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def poly(optimizer: Optimizer, total_steps: int, power: float = 0.9) -> LambdaLR:
    """Lower the optimiser's rate by the factor (1 - step / total) ** power (Chen et al. 2018, DeepLab, section 4.1).

    Raises:
        ValueError: If `power` is not above 0.
    """
    if power <= 0:
        raise ValueError(f"power={power} must be above 0")
    return LambdaLR(optimizer, lambda step: (1 - min(step / total_steps, 1)) ** power)


def one_cycle(
    optimizer: Optimizer, total_steps: int, max_lr: float, pct_start: float = 0.1, **options: Any
) -> OneCycleLR:
    """Rise to `max_lr`, then fall to almost 0, once (Smith & Topin 2018): torch's schedule, for runs of any length.

    torch divides by zero where the rise takes exactly one step; there, this one makes it a millionth of a step longer.

    Args:
        optimizer: The optimiser whose rates are set.
        total_steps: Steps of the whole run.
        max_lr: The highest rate.
        pct_start: Share of the steps in which the rate rises, in [0, 1].
        options: Further arguments of `torch.optim.lr_scheduler.OneCycleLR`.

    Raises:
        ValueError: If torch refuses a value.
    """
    if math.isclose(pct_start * total_steps, 1, abs_tol=1e-9):
        pct_start *= 1 + 1e-6 if total_steps > 1 else 1 - 1e-6
    return OneCycleLR(optimizer, max_lr, total_steps=total_steps, pct_start=pct_start, **options)
