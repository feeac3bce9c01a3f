"""Find the largest batch that fits into memory, by training on batches that double.

Not with Lightning's `BatchSizeFinder`: where a batch of all images fails, 2.6.6 returns its size as if it had fitted.
"""

from contextlib import nullcontext
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from unetkit.errors import UserError, check, is_out_of_memory
from unetkit.training.configuration import is_number, is_on_cpu
from unetkit.training.free_memory import free_ram, limited_to
from unetkit.training.trial import trial

STEPS = 2  # of each size: the second one has the memory of the optimiser, too
SHARE = 0.8  # of the free RAM of a CPU: other programs need some
MOST_ON_CPU = 32  # images; more are hardly faster


class Largest(NamedTuple):
    """The largest batch that was tried and fits.

    Attributes:
        size: Images of the batch; a power of two, or all images.
        images: Number of images, or parts of images, that train in an epoch.
        gibibytes: Memory that a CPU was allowed to take; None for that of a GPU.
        ends_memory: Whether twice as many images, or all, do not fit.
    """

    size: int
    images: int
    gibibytes: float | None
    ends_memory: bool


def find_batch_size(cfg: DictConfig, gibibytes: float | None) -> Largest:
    """Train and validate with batches that double, until memory ends or a batch holds all images; a CPU tries up to 32.

    Args:
        cfg: The configuration of a training.
        gibibytes: Memory that a CPU may take for it; None for most of what is free.

    Raises:
        UserError: If the configuration or the data have a mistake, or not even two images fit.
    """
    wanted = "null, or a number above 0"
    check("gibibytes", gibibytes, gibibytes is None or (is_number(gibibytes) and gibibytes > 0), wanted)
    on_cpu = is_on_cpu(cfg.trainer.accelerator)
    limit = None if not on_cpu else gibibytes or SHARE * free_ram() / 2**30
    found, wanted_size, images = 0, 2, 2
    while found < images and (not on_cpu or found < MOST_ON_CPU):
        fits, images = _try(cfg, wanted_size, limit)
        if not fits:
            break
        found, wanted_size = min(wanted_size, images), 2 * wanted_size
    else:
        return Largest(found, images, limit, ends_memory=False)
    if not found:
        fix = "set data.crop_size, a smaller model, model.gradient_checkpointing=all or trainer.precision=16"
        raise UserError("memory", "ends before a batch of two images is trained on", fix)
    return Largest(found, images, limit, ends_memory=True)


def _try(cfg: DictConfig, size: int, gibibytes: float | None) -> tuple[bool, int]:
    """Return whether batches of a size fit, and how many images there are."""
    own = cfg.copy()
    own.data.batch_size = size
    one = {"devices": 1, "strategy": "auto", "sync_batchnorm": False, "enable_progress_bar": False}
    OmegaConf.update(own, "trainer", one | {"limit_val_batches": STEPS, "accumulate_grad_batches": 1})
    with trial(own, max_steps=STEPS) as (trainer, module, data):
        images = len(data.dataset("train", augment=True))
        try:
            with nullcontext() if gibibytes is None else limited_to(int(gibibytes * 2**30)):
                trainer.fit(module, datamodule=data)
                trainer.validate(module, datamodule=data, verbose=False)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False, images
    return True, images
