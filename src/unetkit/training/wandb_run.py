"""A W&B run that goes on after an interruption: the same run, and no row of its history twice."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment  # type: ignore[attr-defined]
from lightning.pytorch.utilities import rank_zero_only

from unetkit.evaluation.primary import lower_is_better
from unetkit.paths import whole_file

NAME = "wandb.json"  # in the run directory


class LastingWandbLogger(WandbLogger):
    """Log to the W&B run that `wandb.json` in the run directory names, or to a new one, whose name is written there.

    A killed run has logged more than its last checkpoint knows of. Rows that it logs again are left out: they are the
    same, and W&B can't replace rows, nor does it know in offline mode which ones it has.

    Args:
        save_dir: The run directory.
        artifacts: Whether checkpoints become versions of an artifact.
        **options: Arguments of Lightning's logger.
    """

    def __init__(self, save_dir: str, artifacts: bool = True, **options: Any) -> None:
        from wandb.sdk.lib.runid import generate_id  # here, as W&B is not needed by other runs

        # Seconds between two writes of an offline history; what W&B has not written is lost if the run is killed.
        os.environ.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "1")
        self._file = Path(save_dir) / NAME
        stored = _read(self._file)
        self._rows: int = stored.get("rows", 0)
        self._logged: tuple[int, set[str]] = stored.get("step", -1), set(stored.get("keys", []))
        self._before = self._logged
        self.artifacts = artifacts
        self._pictures: dict[str, Any] = {}  # of the validation whose row comes next
        # The agent of a sweep of W&B chooses the id of the run that it starts.
        given = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        options["id"] = stored.get("id") or options.get("id") or given or generate_id()
        super().__init__(save_dir=save_dir, **options)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, which is started when it is first asked for.

        It is one of its own, beside others of this process: Lightning's logger would write to a run that is open.
        """
        if self._experiment is None:
            import wandb

            self._experiment = wandb.init(**{"reinit": "create_new", **self._wandb_init})
            self._experiment.define_metric("trainer/global_step")
            self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._experiment

    @rank_zero_only
    def define_scores(self, names: Iterable[str]) -> None:
        """Let the summary of the W&B run hold the best and the last value of scores, by the direction of each."""
        for name in names:
            best = "min" if lower_is_better(name) else "max"
            self.experiment.define_metric(
                name, step_metric="trainer/global_step", step_sync=True, summary=f"{best},last"
            )

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        """Keep pictures for the row of the validation that they belong to."""
        import wandb

        each = [{name: values[i] for name, values in options.items()} for i in range(len(images))]
        self._pictures[key] = [wandb.Image(image, **own) for image, own in zip(images, each, strict=True)]

    @rank_zero_only
    def log_results(self, values: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Log what is known at the end of the run.

        Args:
            values: Tables, curves and pictures, which become the last row of the history.
            summary: Values for the summary of the run.
        """
        if values:
            row, self._rows = self._rows, self._rows + 1
            self._remember()
            self.experiment.log(dict(values), step=row, commit=True)
        self.experiment.summary.update(dict(summary))

    @rank_zero_only
    def close(self, *, is_good: bool) -> None:
        """End the W&B run, if it was started; one that failed is marked so."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if is_good else 1)

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
            if any(name.startswith("val/") for name in metrics):
                metrics, self._pictures = {**metrics, **self._pictures}, {}
            metrics = {**metrics, "trainer/global_step": step}
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
    """Let a new run in a directory that held another one be a new run of W&B and MLflow, too."""
    for name in (NAME, "mlflow.json"):
        (run_dir / name).unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    """Return the content of `wandb.json`; an empty one if it is missing or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
