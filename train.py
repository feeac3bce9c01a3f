"""Train a U-Net: `python train.py model=unet_small data=tgs_salt data.root=DIR trainer.precision=16`."""

import sys

import hydra
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.cli.memory import keep_freed_memory
from unetkit.errors import UserError

mistakes: list[UserError] = []


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Train one configuration; with `-m`, each of a grid, whose other runs go on when one can't."""
    keep_freed_memory()
    from unetkit.training.run import train  # imported here: torch takes seconds that --help should not

    try:
        train(cfg)
    except UserError as error:
        mistakes.append(error)
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    start(main)
    sys.exit(1 if mistakes else 0)
