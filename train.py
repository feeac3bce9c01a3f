"""Train a U-Net: `python train.py model=unet_small data=tgs_salt data.root=DIR trainer.precision=16`."""

import hydra
from omegaconf import DictConfig

from unetkit.errors import mistakes_in_one_line


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Train one configuration; with `-m`, each of a grid."""
    from unetkit.training import train  # imported here: torch takes seconds that --help should not

    with mistakes_in_one_line():
        train(cfg)


if __name__ == "__main__":
    main()
