"""Publish a checkpoint with its card on the Hugging Face Hub: `unetkit push checkpoint=RUN repo=OWNER/NAME`."""

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, check, mistakes_in_one_line
from unetkit.paths import command_line, config_dir, path_of


@hydra.main(config_path=str(config_dir()), config_name="push", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Upload the checkpoint, and print how it is loaded."""
    with mistakes_in_one_line():
        for key in ("checkpoint", "repo"):
            if cfg[key] is None:
                raise UserError(f"{key}=", "is missing", "give checkpoint=RUN repo=OWNER/NAME")
        for key in ("public", "half"):
            check(key, cfg[key], isinstance(cfg[key], bool), "true or false")

        from unetkit.report.publish import push_to_hub

        address = push_to_hub(
            path_of("checkpoint", cfg.checkpoint),
            str(cfg.repo),
            scores=None if cfg.scores is None else path_of("scores", cfg.scores),
            half=cfg.half,
            public=cfg.public,
            revision=None if cfg.revision is None else str(cfg.revision),
        )
        print(f"wrote {address}; next: {command_line('predict', f'checkpoint={address}', 'input=FILE_OR_FOLDER')}")


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "push")
