"""Paired differences of runs, image by image: `python scripts/compare.py runs=[BASELINE,OTHER]`."""

from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.errors import UserError, mistakes_in_one_line, writable
from unetkit.paths import path_of

if TYPE_CHECKING:
    from unetkit.evaluation import Comparison


@hydra.main(config_path="../conf", config_name="compare", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Write the comparison as JSON, CSV, Markdown and a picture, and tell the main figures."""
    with mistakes_in_one_line():
        comparison = compare(cfg)
    first = comparison.runs[0].name
    for run in comparison.runs:
        left_out = len(run.ids) - len(comparison.ids)
        note = f" (without {left_out} images that not all runs were scored on)" if left_out else ""
        seeds = f", mean of {len(run.seeds)} runs" if len(run.seeds) > 1 else ""
        print(f"{run.name}{seeds}{note}" + (", the baseline" if run.name == first else ""))
        for score, (mean, low, high) in comparison.means[run.name].items():
            print(f"  {score:<8}{mean:.4f}  95 % interval {low:.4f} to {high:.4f}", end="")
            if run.name != first:
                gap, low, high = comparison.differences[run.name][score]
                better, worse = comparison.wins(run.name, score)
                print(f"; less {first}: {gap:+.4f} ({low:+.4f} to {high:+.4f})", end="")
                print(f", better on {better} images, worse on {worse}", end="")
            print()
    written = "comparison.md, comparison.csv, comparison.json and differences.png"
    print(f"{len(comparison.ids)} images in common; wrote {written} to {cfg.output}")


def compare(cfg: DictConfig) -> "Comparison":
    """Hold all runs against the first, and write what is found."""
    from unetkit.evaluation import check_resampling, compare_runs, read_runs
    from unetkit.report import write_comparison

    if cfg.runs is None:
        raise UserError("runs= is missing; give runs=[BASELINE,OTHER], folders that hold a scores.csv")
    check_resampling(cfg.bootstrap, cfg.seed)
    output = path_of("output", cfg.output)
    comparison = compare_runs(read_runs(cfg.runs, cfg.names), cfg.bootstrap, cfg.seed)
    with writable("output", output):
        output.mkdir(parents=True, exist_ok=True)
        write_comparison(output, comparison)
    return comparison


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "compare.yaml")
