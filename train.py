"""Train a U-Net: `python train.py model=unet_small data=tgs_salt data.root=DIR trainer.precision=16`."""

import sys

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Train one configuration; with `-m`, each of a grid."""
    from unetkit.errors import UserError
    from unetkit.training import train  # imported here: torch takes seconds that --help should not

    try:
        train(cfg)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
