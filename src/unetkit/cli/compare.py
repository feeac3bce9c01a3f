"""Compare runs image by image, `unetkit compare runs=[BASELINE,OTHER]`, or those of a sweep, `unetkit compare DIR`."""

import sys
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from unetkit.cli.quoting import exists
from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import config_dir, path_of, quoted_for_hydra

if TYPE_CHECKING:
    from unetkit.evaluation import Comparison

WRITTEN = "comparison.md, comparison.csv, comparison.json and differences.png"


@hydra.main(config_path=str(config_dir()), config_name="compare", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the comparison as JSON, CSV, Markdown and a picture, and print the main results."""
    with mistakes_in_one_line():
        if cfg.sweep_dir is not None:
            show_sweep(cfg)
            return
        comparison = compare(cfg)
    for line in described(comparison):
        print(line)
    print(f"{len(comparison.ids)} images in common; wrote {WRITTEN} to {cfg.output}")


def show_sweep(cfg: DictConfig) -> None:
    """Print the table of a sweep or search, and write `sweep.csv` and `sweep.html` into its directory.

    Raises:
        UserError: If there are no runs, or runs are given as well.
    """
    from unetkit.cli.sweep import show

    if cfg.runs is not None:
        raise UserError("sweep_dir= and runs=", "exclude each other", "give one of them")
    folder = path_of("sweep_dir", cfg.sweep_dir)
    with writable("sweep_dir", folder):
        show(folder)


def compare(cfg: DictConfig) -> "Comparison":
    """Compare all runs with the first, and write what is found."""
    if cfg.runs is None:
        fix = "give runs=[BASELINE,OTHER], folders that hold a scores.csv, or the directory of a sweep"
        raise UserError("runs=", "is missing", fix)

    from unetkit.evaluation import check_resampling, compare_runs, read_runs
    from unetkit.evaluation.primary import read_primary
    from unetkit.report import write_comparison

    check_resampling(cfg.bootstrap, cfg.seed)
    output = path_of("output", cfg.output)
    primary = None if cfg.metrics.primary is None else read_primary(cfg.metrics.primary)
    comparison = compare_runs(read_runs(cfg.runs, cfg.names), cfg.bootstrap, cfg.seed, primary)
    with writable("output", output):
        output.mkdir(parents=True, exist_ok=True)
        write_comparison(output, comparison)
    return comparison


def described(comparison: "Comparison") -> list[str]:
    """Return lines that give each run's scores, and how they differ from the baseline's."""
    baseline = comparison.runs[0].name
    lines = []
    for run in comparison.runs:
        left_out = len(run.ids) - len(comparison.ids)
        note = f" (without {left_out} images that not all runs were scored on)" if left_out else ""
        seeds = f", mean of {len(run.seeds)} runs" if len(run.seeds) > 1 else ""
        lines.append(f"{run.name}{seeds}{note}" + (", the baseline" if run.name == baseline else ""))
        for score, (mean, low, high) in comparison.means[run.name].items():
            line = f"  {score:<8} {mean:.4f}  95 % interval {low:.4f} to {high:.4f}"
            if run.name != baseline:
                gap, low, high = comparison.differences[run.name][score]
                better, worse = comparison.wins(run.name, score)
                line += f"; minus {baseline}: {gap:+.4f} ({low:+.4f} to {high:+.4f})"
                line += f", better on {better} images, worse on {worse}"
            lines.append(line)
    return lines + comparison.caveats


def run() -> None:
    """Run the command on what was typed; a folder alone is the directory of a sweep, several are runs."""
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-") and ("=" not in sys.argv[1] or exists(sys.argv[1])):
        sys.argv[1] = f"sweep_dir={quoted_for_hydra(sys.argv[1])}"
    start(main, __doc__, "compare", lists=("runs",), bare="runs")
