"""Compare runs image by image, by paired differences: `unetkit compare runs=[BASELINE,OTHER]`."""

from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import config_dir, path_of

if TYPE_CHECKING:
    from unetkit.evaluation import Comparison

WRITTEN = "comparison.md, comparison.csv, comparison.json and differences.png"


@hydra.main(config_path=str(config_dir()), config_name="compare", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the comparison as JSON, CSV, Markdown and a picture, and print the main results."""
    with mistakes_in_one_line():
        comparison = compare(cfg)
    for line in described(comparison):
        print(line)
    print(f"{len(comparison.ids)} images in common; wrote {WRITTEN} to {cfg.output}")


def compare(cfg: DictConfig) -> "Comparison":
    """Compare all runs with the first, and write what is found."""
    if cfg.runs is None:
        raise UserError("runs=", "is missing", "give runs=[BASELINE,OTHER], folders that hold a scores.csv")

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
    return lines


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "compare")
