"""The same program as `unetkit train`: `python train.py model=unet_small data.root=DIR trainer.precision=16`."""

from unetkit.cli.train import run

if __name__ == "__main__":
    run()
