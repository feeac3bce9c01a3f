"""Prepare a workspace and a report of W&B for the runs of a project: `unetkit dashboard entity=TEAM`."""

import json
from importlib.util import find_spec

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import config_dir, names_of, path_of, write_text


@hydra.main(config_path=str(config_dir()), config_name="dashboard", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Save both on W&B and print their addresses; write them to a file without a key."""
    with mistakes_in_one_line():
        if find_spec("wandb_workspaces") is None:
            fix = 'pip install "unetkit[dashboard]"'
            raise UserError("dashboard", "needs wandb-workspaces, which is not installed", fix)
        prepare(cfg)


def prepare(cfg: DictConfig) -> None:
    """Save the workspace and the report, or write them to a file.

    Raises:
        UserError: If a key holds a wrong value, the file can't be written, or W&B does not answer or refuses.
    """
    from unetkit.training.dashboard import Dashboard  # imported here: torch takes seconds
    from unetkit.training.loggers import mode_of

    for key in ("project", "name", "monitor"):
        if cfg[key] in (None, ""):
            raise UserError(f"{key}=", "is missing", "give a name")
    dashboard = Dashboard(
        project=str(cfg.project),
        name=str(cfg.name),
        monitor=str(cfg.monitor),
        classes=names_of([] if cfg.classes is None else cfg.classes),
        parameters=names_of([] if cfg.parameters is None else cfg.parameters),
        entity=None if cfg.entity is None else str(cfg.entity),
        group=None if cfg.group is None else str(cfg.group),
    )
    if mode_of() == "online":
        for kind, address in dashboard.save().items():
            print(f"{kind}: {address}")
        return
    file = path_of("output", cfg.output)
    with writable("output", file):
        write_text(file, json.dumps(dashboard.specs(), indent=2) + "\n")
    print(f"wrote {file}; to save both on W&B, run `wandb login`, and leave WANDB_MODE out")


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "dashboard")
