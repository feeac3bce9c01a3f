"""All folds of a recipe: `python scripts/cross_validate.py experiment=tgs_small data.root=DIR`."""

import hydra
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.cli.memory import keep_freed_memory
from unetkit.errors import mistakes_in_one_line


@hydra.main(config_path="../conf", config_name="cross_validate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Train each fold, or go on with it, score every image by the network that has not seen it, and fit a threshold."""
    keep_freed_memory()
    from unetkit.training.cross_validation import (
        cross_validate,  # imported here: torch takes seconds that --help should not
    )

    with mistakes_in_one_line():
        cross_validate(cfg)


if __name__ == "__main__":
    start(main)
