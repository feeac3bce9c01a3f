"""Learning-rate schedules over a known number of steps that torch lacks or spreads over several objects."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> LambdaLR:
    """Linear rise to the optimiser's rate, then half a cosine down (Loshchilov & Hutter 2017, SGDR, eq. 5).

    Args:
        optimizer: Whose rates are set.
        total_steps: Steps of the whole run.
        warmup: Share of the steps in which the rate rises.
        final: Last rate, as a share of the optimiser's.
    """
    rising = max(round(warmup * total_steps), 1)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        progress = min((step - rising) / max(total_steps - rising, 1), 1)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def poly(optimizer: Optimizer, total_steps: int, power: float = 0.9) -> LambdaLR:
    """(1 - step / total) ** power of the optimiser's rate (Chen et al. 2018, DeepLab, section 4.1)."""
    return LambdaLR(optimizer, lambda step: (1 - min(step / total_steps, 1)) ** power)
