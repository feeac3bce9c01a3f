"""Train and score every fold of a recipe: `unetkit cross-validate experiment=tgs_small data.root=DIR`."""

import sys

import hydra
from omegaconf import DictConfig

from unetkit.cli.completed import completed
from unetkit.cli.memory import keep_freed_memory
from unetkit.cli.sweep import do_job, start_jobs
from unetkit.errors import mistakes_in_one_line
from unetkit.paths import config_dir


@hydra.main(config_path=str(config_dir()), config_name="cross_validate", version_base="1.3")
def main(cfg: DictConfig) -> float | None:
    """Train or resume each fold, score each image by the network that has not seen it, and fit a threshold."""
    keep_freed_memory()
    from unetkit.training.cross_validation import cross_validate, leading_score  # imported here: torch takes seconds

    return do_job(cfg, lambda cfg: leading_score(cross_validate(cfg)))


def run() -> None:
    """Run the command on what was typed."""
    with mistakes_in_one_line():
        sys.argv = completed(sys.argv, resumes_itself=True)
        sys.exit(start_jobs(main))
