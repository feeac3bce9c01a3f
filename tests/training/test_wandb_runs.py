"""What W&B and MLflow know of runs, read back from what real runs wrote: names, groups, summaries, artifacts."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from conftest import Unetkit
from test_loggers import read_records
from training_runs import composed
from wandb.wandb_agent import Agent

from unetkit.paths import config_dir
from unetkit.training.cross_validation import cross_validate

TINY = ["model=plain_small", "model.channels=[4,8]", "data.count=24", "data.size=36", "data.batch_size=8"]
QUICK = ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"]
OFFLINE = ["logger=wandb", "logger.wandb.mode=offline"]


@dataclass
class Found:
    """What an offline file of W&B holds."""

    run: Any = None
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)


def read_run(folder: Path) -> Found:
    """Read the only W&B run of a run directory."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = Found()
    for record in read_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
        for update in (*record.run.config.update, *record.config.update):
            found.config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
        for item in record.summary.update:
            found.summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        if kind == "history":
            items = record.history.item
            found.history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "artifact" or (kind == "request" and record.request.WhichOneof("request_type") == "log_artifact"):
            found.artifacts.append(record.artifact if kind == "artifact" else record.request.log_artifact.artifact)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


@pytest.fixture(autouse=True)
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without settings of W&B, where it may write."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)


def test_runs_of_a_grid_are_runs_of_their_own_even_if_the_first_one_fails(tmp_path: Path, unetkit: Unetkit) -> None:
    typed = [*TINY, *QUICK, *OFFLINE, "optimizer.lr=1e30,1e-3", "data.cache_dir=cache", "hydra.sweep.dir=grid"]
    done = unetkit("train", "-m", *typed, "logger.wandb.notes=why", "+logger.wandb.resume=allow")
    wandb.teardown()  # waits until all is written
    assert done.status == 1
    assert "failed: 0-plain_small: " in done.stdout
    bad, good = (read_run(tmp_path / "grid" / f"{number}-plain_small") for number in (0, 1))
    assert bad.run.run_id != good.run.run_id
    assert (bad.exit_code, good.exit_code) == (1, 0)
    assert (bad.run.display_name, good.run.display_name) == ("optimizer.lr=1e+30", "optimizer.lr=0.001")
    assert bad.run.run_group == good.run.run_group == f"{tmp_path.name}/grid"
    assert (good.run.job_type, good.run.notes) == ("train", "why")
    assert good.config["model"] == "plain_small"
    assert good.config["optimizer"] == "adamw"
    assert good.config["optimizer.lr"] == 0.001
    assert len([row for row in good.history if "val/iou_per_image" in row]) == 2
    assert not [row for row in bad.history if row.get("trainer/global_step", 0) > 3]  # none of the other run's
    summary = json.loads((tmp_path / "grid" / "1-plain_small" / "summary.json").read_text())
    for key, value in (
        ("best/val/iou_per_image", summary["best"]["score"]),
        *((key, summary[key]) for key in ("parameters", "seconds", "peak_memory_mib")),
    ):
        assert good.summary[key] == value
    assert {name: bool(getattr(good.metrics["val/iou_per_image"].summary, name)) for name in ("max", "last")} == {
        "max": True,
        "last": True,
    }
    assert good.metrics["val/loss"].summary.min
    validations = [row for row in good.history if "predictions/0/all_masks" in json.dumps([*row])]
    assert all("val/iou_per_image" in row for row in validations)  # pictures and scores are one row
    (last,) = (row for row in good.history if "predictions_table" in json.dumps([*row]))
    assert any(key.startswith("curves/precision_recall") for key in last)
    assert any(key.startswith("confusion_matrix") for key in last)
    (of_table,) = (artifact for artifact in good.artifacts if "predictions_table" in artifact.name)
    files = {content.path: content.local_path for content in of_table.manifest.contents}
    table = json.loads(Path(files["predictions_table.table.json"]).read_text())
    assert table["columns"] == ["image", "prediction", "iou", "dice"]
    assert len(table["data"]) == 5
    for _, picture, iou, dice in table["data"]:
        assert 0 <= iou <= dice <= 1
        assert picture["masks"].keys() == {"truth", "prediction"}
        assert picture["path"] in files
    best, last = (artifact for artifact in good.artifacts if artifact.type == "model")
    assert "best" in best.aliases
    assert [*last.aliases] == ["latest"]  # given last, as W&B gives `latest` to each
    for artifact in (best, last):
        assert json.loads(artifact.metadata)["fingerprint"] == good.config["data.fingerprint"]


@pytest.mark.slow
def test_folds_are_a_group(tmp_path: Path) -> None:
    folds = ["data.folds=2", "cross_validation.bootstrap=100", f"data.cache_dir={tmp_path / 'cache'}"]
    cross_validate(
        composed(*TINY, *QUICK, *OFFLINE, *folds, f"run_dir={tmp_path / 'day' / 'cv'}", name="cross_validate")
    )
    wandb.teardown()
    runs = [read_run(tmp_path / "day" / "cv" / f"fold-{fold}").run for fold in (0, 1)]
    assert [run.display_name for run in runs] == ["fold-0", "fold-1"]
    assert {(run.run_group, run.job_type) for run in runs} == {("day/cv", "fold")}


@pytest.mark.slow
def test_the_shipped_sweep_of_wandb_starts_a_run_of_its_own_by_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent itself runs, without its server: it composes the command, and starts it with its variables."""
    sweep = yaml.safe_load((config_dir() / "sweep" / "wandb_bayes.yaml").read_text())
    fixed = [*TINY, *QUICK, f"data.cache_dir={tmp_path / 'cache'}", "hydra.run.dir=run"]
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep7")
    for name in ("WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"):  # the agent sets them in this process
        monkeypatch.setenv(name, "")
    agent = Agent(None, None)
    agent._sweep_command = [*sweep["command"][:-1], *fixed, sweep["command"][-1]]
    assert sweep["parameters"].keys() == {"optimizer.lr", "loss"}
    values = {"optimizer.lr": {"value": 0.0021}, "loss": {"value": "focal_tversky"}}
    agent._command_run({"run_id": "run42", "program": sweep["program"], "args": values})  # type: ignore[no-untyped-call]
    (process,) = agent._run_processes.values()
    assert process.wait() == 0
    found = read_run(tmp_path / "run")
    assert (found.run.run_id, found.run.sweep_id) == ("run42", "sweep7")
    assert (found.config["optimizer.lr"], found.config["loss"]) == (0.0021, "focal_tversky")
    assert sweep["metric"]["name"] in found.summary


@pytest.mark.slow
def test_mlflow_holds_scores_choices_curves_and_pictures_of_one_run(tmp_path: Path, unetkit: Unetkit) -> None:
    mlflow = pytest.importorskip("mlflow")
    typed = [*TINY, *QUICK, "logger=mlflow", f"data.cache_dir={tmp_path / 'cache'}", "hydra.run.dir=run", "tags=[a]"]
    done = unetkit("train", *typed)
    assert done.status == 0, done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'unetkit'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "plain_small"
    assert run.data.tags["tags"] == "a"
    assert len(client.get_metric_history(run.info.run_id, "val/iou_per_image")) == 2
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert run.data.metrics["summary/best/val/iou_per_image"] == summary["best"]["score"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"curves", "predictions"}
    assert json.loads((tmp_path / "run" / "mlflow.json").read_text()) == {"id": run.info.run_id}
