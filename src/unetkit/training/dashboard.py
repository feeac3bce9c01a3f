"""A workspace and a report of W&B that show what `logger=wandb` logs, built by `wandb-workspaces`, an extra."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as reports
from pydantic import ValidationError
from wandb_workspaces import expr, workspaces

from unetkit.errors import UserError, check
from unetkit.training.loggers import PATIENCE, answers, server

SCORES = ("val/iou_per_image", "val/iou", "val/dice")
LOSSES = ("train/loss_epoch", "val/loss")
UNREADABLE = frozenset("'<=>\\")  # which the library misreads in the value of a filter, as of 0.4.13
FACTS = ("images_per_second", "seconds", "peak_memory_mib", "data_wait")  # in the summary of a run


class KeyColumn(reports.ParallelCoordinatesPlotColumn):  # type: ignore[misc]  # untyped, see pyproject.toml
    """A column of a key such as `optimizer.lr`; the library takes a dot for a level, and our keys have none."""

    def _to_model(self) -> Any:
        column = super()._to_model()
        column.accessor = f"config:{self.metric.name}.value"
        return column


@dataclass(frozen=True)
class Dashboard:
    """What is shown, and where.

    Attributes:
        entity: Team or user; None for the owner of the key.
        project: Name of the project on W&B.
        name: Title of the workspace and the report.
        monitor: The score that runs are compared by, such as `val/iou_per_image`.
        classes: Names of the classes whose curves are shown.
        parameters: Keys of the configuration that runs are compared by, such as `optimizer.lr`.
        group: The sweep, search or cross-validation whose runs are shown; None for all runs.
    """

    entity: str | None
    project: str
    name: str
    monitor: str
    classes: Sequence[str]
    parameters: Sequence[str]
    group: str | None = None

    def specs(self) -> dict[str, Any]:
        """Return the workspace and the report as JSON, which needs no key and no network."""
        models = {kind: one._to_model() for kind, one in self._built(self.entity or "").items()}
        return {kind: json.loads(x.model_dump_json(by_alias=True, exclude_none=True)) for kind, x in models.items()}

    def save(self) -> dict[str, str]:
        """Save the workspace and the report on W&B, and return the address of each.

        Raises:
            UserError: If W&B does not answer, or refuses the key, the entity or the project.
        """
        os.environ.setdefault("WANDB_SILENT", "true")  # the command prints the addresses itself
        if not answers(url := server()):
            fix = "try again later, or set WANDB_MODE=offline to write a file"
            raise UserError(url, f"did not answer within {PATIENCE:.0f} s", fix)
        try:
            entity = self.entity or wandb.Api().default_entity or ""
            built = self._built(entity)
            for kind in ("report", "workspace"):  # the first makes the project if there is none
                built[kind].save()
            return {kind: one.url for kind, one in built.items()}
        except UserError:
            raise
        except Exception as error:  # W&B raises errors of many kinds, and a bare Exception
            reason = " ".join(str(error).split())[:200]
            fix = "check the key (`wandb login --relogin`), entity= and project="
            raise UserError("dashboard", f"is refused by {url} ({reason})", fix) from error

    def _built(self, entity: str) -> dict[str, Any]:
        broken = UNREADABLE & set(self.group or "")
        check("group", self.group, not broken, f"a name without {' '.join(sorted(UNREADABLE))} for wandb-workspaces")
        try:
            return {"workspace": self._workspace(entity), "report": self._report(entity)}
        except ValidationError as error:
            raise UserError(f"name={self.name}", f"is no title for W&B ({error.errors()[0]['msg']})") from error

    def _workspace(self, entity: str) -> Any:
        return workspaces.Workspace(
            entity=entity,
            project=self.project,
            name=self.name,
            sections=[workspaces.Section(name, panels, is_open=True) for name, panels in self._sections().items()],
            runset_settings=workspaces.RunsetSettings(filters=self._filters()),
        )

    def _report(self, entity: str) -> Any:
        blocks: list[Any] = []  # their runs are those of the report's own project
        for name, panels in self._sections().items():
            runs = reports.Runset(filters=self._filters())
            blocks += [reports.H2(name), reports.PanelGrid(runsets=[runs], panels=panels)]
        return reports.Report(entity=entity, project=self.project, title=self.name, blocks=blocks, width="fluid")

    def _filters(self) -> Any:
        return "" if self.group is None else expr.And(expr.Metric("Group") == self.group)

    def _sections(self) -> dict[str, list[Any]]:
        """Return the panels of each section."""
        scores = dict.fromkeys([self.monitor, *SCORES])
        return {
            "Scores by epoch": [
                *(reports.LinePlot(title=name, x="epoch", y=[name]) for name in scores),
                reports.LinePlot(title="loss", x="epoch", y=list(LOSSES)),
            ],
            "Sweep": [self._parallel_coordinates()],
            "Predictions": [
                reports.WeavePanelSummaryTable(table_name="predictions_table", layout=reports.Layout(w=24, h=12))
            ],
            "Curves": [
                _chart(
                    "confusion_matrix",
                    "confusion_matrix/v1",
                    Actual="Actual",
                    Predicted="Predicted",
                    nPredictions="nPredictions",
                ),
                *(
                    _chart(f"curves/precision_recall/{name}", "line/v0", x="recall", y="precision")
                    for name in self.classes
                ),
                *(_chart(f"curves/threshold/{name}", "line/v0", x="threshold", y="iou") for name in self.classes),
            ],
            "Speed and memory": [reports.BarPlot(title=name, metrics=[name]) for name in FACTS],
        }

    def _parallel_coordinates(self) -> Any:
        score = reports.SummaryMetric(f"best/{self.monitor}")
        return reports.ParallelCoordinatesPlot(
            columns=[
                *(KeyColumn(reports.Config(key)) for key in self.parameters),
                reports.ParallelCoordinatesPlotColumn(score),
            ],
            layout=reports.Layout(w=24, h=10),
        )


def _chart(key: str, kind: str, **fields: str) -> Any:
    """Return a panel that shows what `wandb.plot` logged by this key, from the columns of its table."""
    query = {"summaryTable": {"tableKey": f"{key}_table"}}
    title = {"title": key}
    return reports.CustomChart(query=query, chart_name=f"wandb/{kind}", chart_fields=fields, chart_strings=title)
