"""Check images and masks before training: `unetkit doctor data.root=my_data`."""

import sys
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from unetkit.cli.start import start
from unetkit.errors import mistakes_in_one_line, writable
from unetkit.paths import command_line, config_dir, path_of, printable, write_text


@hydra.main(config_path=str(config_dir()), config_name="doctor", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Report what was found, draw a contact sheet, and propose a configuration; status 1 if training would stop."""
    with mistakes_in_one_line():
        faults = examine(cfg)
    sys.exit(1 if faults else 0)


def examine(cfg: DictConfig) -> int:
    """Write the output folder and return the number of faults."""
    from unetkit.data.limits import decoding_at_most
    from unetkit.doctor import contact_sheet, diagnose, report, write_experiment
    from unetkit.plots.images import write_png

    output = path_of("output", cfg.output)
    with decoding_at_most(cfg.data.max_pixels, "data.max_pixels"):
        typed: Any = OmegaConf.to_container(cfg.data)
        where = {key: typed[key] for key in ("images", "masks", "stacks")}
        diagnosis = diagnose(cfg.data.root, cfg.data.mask_suffix, **where)
        sheet = contact_sheet(diagnosis)
    text = report(diagnosis)
    name = None
    with writable("output", cfg.output):
        write_png(output / "contact_sheet.png", sheet)
        write_text(output / "report.txt", printable(text) + "\n")
        if diagnosis.experiment is not None:
            name = write_experiment(diagnosis.experiment, output)
    print(text)
    print(f"wrote {output}/report.txt and {output}/contact_sheet.png: look at it")
    if name is not None:
        when = "train with" if not diagnosis.faults else "then train with"
        print(f"a proposed configuration, with reasons: {output}/experiment/{name}.yaml; {when}:")
        print(command_line("train", "--config-dir", str(output), f"experiment={name}"))
    return diagnosis.faults


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "doctor")
