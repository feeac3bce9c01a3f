"""Train one configuration, or each of a grid: `unetkit train model=unet_small data.root=DIR trainer.precision=16`."""

import sys

import hydra
from omegaconf import DictConfig

from unetkit.cli.completed import completed
from unetkit.cli.memory import keep_freed_memory
from unetkit.cli.sweep import do_job, start_jobs
from unetkit.errors import mistakes_in_one_line
from unetkit.paths import config_dir


@hydra.main(config_path=str(config_dir()), config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> float | None:
    """Train one configuration and return its best `monitor` score, for Hydra's sweepers.

    After a mistake in one configuration of a grid (`-m`), the others are trained; the exit status is 1.
    """
    keep_freed_memory()
    from unetkit.training.records import monitored_score  # imported here: torch takes seconds that --help should not
    from unetkit.training.run import train

    return do_job(cfg, lambda cfg: monitored_score(train(cfg)))


def run() -> None:
    """Run the command on what was typed."""
    with mistakes_in_one_line():
        sys.argv = completed(sys.argv)
        sys.exit(start_jobs(main))


if __name__ == "__main__":  # as Lightning starts the other processes of DDP
    run()
