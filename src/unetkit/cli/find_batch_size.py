"""Find the largest batch that fits into memory: `unetkit find-batch-size model=unet_small data.root=DIR`."""

import sys
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from unetkit.cli.completed import completed
from unetkit.cli.start import start
from unetkit.errors import mistakes_in_one_line
from unetkit.paths import config_dir

if TYPE_CHECKING:
    from unetkit.training.batch_size import Largest


@hydra.main(config_path=str(config_dir()), config_name="find_batch_size", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Try batches, and print the size to type."""
    with mistakes_in_one_line():
        from unetkit.training.batch_size import find_batch_size  # imported here: torch takes seconds

        found = find_batch_size(cfg, cfg.gibibytes)
        print(f"the largest batch: data.batch_size={found.size} of {found.images} training images, {reason_of(found)}")


def reason_of(found: "Largest") -> str:
    """Return why a batch is the largest."""
    where = "" if found.gibibytes is None else f" in {found.gibibytes:.3g} GiB of RAM"
    if found.ends_memory:
        return f"more do not fit{where}"
    return f"all of which fit{where}" if found.size == found.images else "a CPU is hardly faster with more"


def run() -> None:
    """Run the command on what was typed."""
    with mistakes_in_one_line():
        sys.argv = completed(sys.argv)
    start(main)
