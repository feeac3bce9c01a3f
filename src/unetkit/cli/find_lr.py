"""Find a learning rate by a range test: `unetkit find-lr model=unet_small data.root=DIR`."""

import sys

import hydra
from omegaconf import DictConfig

from unetkit.cli.completed import completed
from unetkit.cli.memory import keep_freed_memory
from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import config_dir, path_of


@hydra.main(config_path=str(config_dir()), config_name="find_lr", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Run the test, draw it, and print the rate to type."""
    keep_freed_memory()
    with mistakes_in_one_line():
        find(cfg)


def find(cfg: DictConfig) -> None:
    """Do what the command promises.

    Raises:
        UserError: If the file to write is no PNG, or the test finds no rate.
    """
    from unetkit.training.learning_rate import draw_range_test, find_learning_rate  # imported here: torch takes seconds

    picture = path_of("output", cfg.output)
    if picture.suffix.lower() != ".png":
        raise UserError(f"output={picture}", "must end in .png", "the curve is a picture")
    found = find_learning_rate(cfg, cfg.least, cfg.most, cfg.steps)
    with writable("output", picture):
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw_range_test(found, picture)
    print(f"wrote {picture}: the loss falls most steeply at optimizer.lr={found.proposed:g}")


def run() -> None:
    """Run the command on what was typed."""
    with mistakes_in_one_line():
        sys.argv = completed(sys.argv)
    start(main)
