"""What is wrong with your images, before training: `python scripts/doctor.py data.root=my_data`."""

import shlex
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.errors import mistakes_in_one_line, writable
from unetkit.paths import path_of


@hydra.main(config_path="../conf", config_name="doctor", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Report what was found, draw a contact sheet, and propose a configuration; status 1 if training would stop."""
    with mistakes_in_one_line():
        faults = examine(cfg)
    sys.exit(1 if faults else 0)


def examine(cfg: DictConfig) -> int:
    """Write the output folder and give the number of faults."""
    from unetkit.doctor import contact_sheet, diagnose, report, write_experiment
    from unetkit.plots.images import write_png

    output = path_of("output", cfg.output)
    diagnosis = diagnose(cfg.data.root, cfg.data.mask_suffix)
    text = report(diagnosis)
    name = None
    with writable("output", cfg.output):
        write_png(output / "contact_sheet.png", contact_sheet(diagnosis))
        (output / "report.txt").write_text(text + "\n", encoding="utf-8")
        if diagnosis.experiment is not None:
            name = write_experiment(diagnosis.experiment, output)
    print(text)
    print(f"wrote {output}/report.txt and {output}/contact_sheet.png: look at it")
    if name is not None:
        when = "train with" if not diagnosis.faults else "then train with"
        print(f"a proposed configuration, with reasons: {output}/experiment/{name}.yaml; {when}:")
        print(f"python train.py --config-dir {shlex.quote(str(output))} experiment={name}")
    return diagnosis.faults


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "doctor.yaml")
