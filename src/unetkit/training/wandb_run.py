"""A W&B run that goes on after an interruption: the same run, and no row of its history twice."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from unetkit.paths import whole_file

NAME = "wandb.json"  # in the run directory


class LastingWandbLogger(WandbLogger):
    """Log to the W&B run that `wandb.json` in the run directory names, or to a new one, whose name is written there.

    A killed run has logged more than its last checkpoint knows of. Rows that it logs again are left out: they are the
    same, and W&B can't replace rows, nor does it know in offline mode which ones it has.

    Args:
        save_dir: The run directory.
        **options: Arguments of Lightning's logger.
    """

    def __init__(self, save_dir: str, **options: Any) -> None:
        from wandb.sdk.lib.runid import generate_id  # here, as W&B is not needed by other runs

        # Seconds between two writes of an offline history; what W&B has not written is lost if the run is killed.
        os.environ.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "1")
        self._file = Path(save_dir) / NAME
        stored = _read(self._file)
        self._rows: int = stored.get("rows", 0)
        self._logged: tuple[int, set[str]] = stored.get("step", -1), set(stored.get("keys", []))
        self._before = self._logged
        super().__init__(save_dir=save_dir, id=stored.get("id") or generate_id(), **options)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log the configuration, and remember the run."""
        super().log_hyperparams(params)
        self._remember()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row of the history, without what was logged before an interruption.

        Args:
            metrics: Values by name.
            step: Step of the optimiser, from 0.
        """
        if step is not None:
            before, names = self._before
            metrics = {key: x for key, x in metrics.items() if step > before or (step == before and key not in names)}
            if not metrics.keys() - {"epoch"}:
                return
            last, names = self._logged
            self._logged = step, {*metrics, *(names if step == last else ())}
            metrics["trainer/global_step"] = step
        row, self._rows = self._rows, self._rows + 1
        self._remember()
        self.experiment.log(dict(metrics), step=row, commit=True)

    def _remember(self) -> None:
        step, names = self._logged
        content = {"id": self.experiment.id, "rows": self._rows, "step": step, "keys": sorted(names)}
        with whole_file(self._file) as part:
            part.write_text(json.dumps(content) + "\n", encoding="utf-8")


@rank_zero_only
def forget_run(run_dir: Path) -> None:
    """Let a new run in a directory that held another one be a new run of W&B, too."""
    (run_dir / NAME).unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    """Return the content of `wandb.json`; an empty one if it is missing or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
