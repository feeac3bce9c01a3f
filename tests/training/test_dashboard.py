"""A prepared workspace and report of W&B: compared with a real run, and saved on a stand-in for its server."""

import json
import re
import sys
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import wandb
from conftest import Unetkit
from test_loggers import Refusing
from test_wandb_runs import OFFLINE, QUICK, TINY, read_run

pytest.importorskip("wandb_workspaces")


@pytest.fixture(autouse=True)
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home without settings of W&B, where it may write, and a process whose W&B has no settings yet."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "NETRC", "WANDB_SILENT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield
    wandb.teardown()


def panels_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a workspace or report, wherever they are in it."""
    found: list[dict[str, Any]] = []

    def visit(node: Any) -> None:
        if isinstance(node, dict) and "viewType" in node:
            found.append(node)
        elif isinstance(node, dict | list):
            for child in node.values() if isinstance(node, dict) else node:
                visit(child)

    visit(spec)
    return found


def names_shown(panel: dict[str, Any]) -> set[tuple[str, str]]:
    """Return what a panel shows: the kind (history, summary, config, table) and the name of each value."""
    config, kind = panel["config"], panel["viewType"]
    if kind == "Run History Line Plot":
        return {("history", name) for name in [config["xAxis"], *config["metrics"]]}
    if kind == "Bar Chart":
        return {("summary", name) for name in config["metrics"]}
    if kind == "Parallel Coordinates Plot":
        parts = [column["accessor"].partition(":") for column in config["columns"]]
        return {(section, name.removesuffix(".value") if section == "config" else name) for section, _, name in parts}
    text = json.dumps(config)
    if kind == "Weave":
        return {("table", config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"])}
    assert kind == "Vega2", kind
    return {("table", name) for name in re.findall(r'"name": "tableKey".*?"value": "([^"]+)"', text)}


def test_every_panel_shows_what_a_run_of_ours_logs(tmp_path: Path, cache: Path, unetkit: Unetkit) -> None:
    typed = [*TINY, *QUICK, *OFFLINE, f"data.cache_dir={cache}", "hydra.run.dir=run"]
    assert unetkit("train", *typed).status == 0
    wandb.teardown()  # waits until all is written
    run = read_run(tmp_path / "run")
    done = unetkit("dashboard", "entity=team", "group=day/sweep", "output=made/both.json")
    said = "wrote made/both.json; to save both on W&B, run `wandb login`, and leave WANDB_MODE out\n"
    assert (done.status, done.stdout) == (0, said)
    specs = json.loads(Path("made/both.json").read_text())
    logged = {
        "history": {key for row in run.history for key in row},
        "summary": {*run.summary},
        "config": {*run.config},
        "table": {key.removesuffix("/path") for key in run.summary if key.endswith("/path")},
    }
    assert specs.keys() == {"workspace", "report"}
    for spec in specs.values():
        shown = [names_shown(panel) for panel in panels_of(spec)]
        assert all(shown)
        assert [(kind, name) for names in shown for kind, name in names if name not in logged[kind]] == []
        every = set().union(*shown)
        assert {("history", name) for name in ("epoch", "val/iou_per_image", "val/loss", "train/loss_epoch")} < every
        assert {("summary", "images_per_second"), ("summary", "peak_memory_mib"), ("config", "optimizer.lr")} < every
        assert {("summary", "best/val/iou_per_image"), ("table", "predictions_table")} < every
        assert "day/sweep" in json.dumps(spec)
    charts = [panel["config"] for panel in panels_of(specs["workspace"]) if panel["viewType"] == "Vega2"]
    by_wandb = {
        json.dumps(value["panel_config"]["userQuery"]["queryFields"][0]["fields"][-1]["args"]): value["panel_config"]
        for key, value in run.config.items()
        if key.startswith("_wandb/visualize/")
    }
    assert len(charts) == len(by_wandb) == 3
    for own in by_wandb.values():  # W&B's own panel of each chart has these axes, and a title
        fields = {key: value for key, value in own["fieldSettings"].items() if value}
        assert (own["panelDefId"], fields) in [(chart["panelDefId"], chart["fieldSettings"]) for chart in charts]
        assert own["panelDefId"] != "wandb/line/v0" or own["stringSettings"]["title"].startswith("foreground: ")


class Accepting(Refusing):
    """A stand-in for W&B's server, which keeps views in its memory."""

    views: dict[str, dict[str, Any]]

    def do_POST(self) -> None:  # noqa: N802  # http.server's name
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        asked = json.loads(body or b"{}")
        query, given = asked.get("query", ""), asked.get("variables") or {}
        answer: dict[str, Any] = {}
        if "upsertView" in query:
            self.views[given["type"]] = given
            project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
            view = {"id": "Vmlldzox", "name": given["name"], "displayName": given["displayName"], "project": project}
            view |= {"type": given["type"], "description": "", "spec": given["spec"]}
            answer = {"upsertView": {"view": view, "inserted": True}}
        elif "models" in query:
            answer = {"models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}
        elif "upsertModel" in query:
            project = {"id": "p", "name": "salt", "entityName": "team", "description": "", "access": ""}
            answer = {"upsertModel": {"project": project, "model": project, "inserted": True}}
        elif "viewer" in query:
            teams: dict[str, Any] = {"edges": []}
            answer = {"viewer": {"id": "u", "entity": "team", "username": "me", "flags": "{}", "teams": teams}}
        content = json.dumps({"data": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.mark.parametrize("accepts", [True, False])
def test_both_are_saved_where_the_server_takes_the_key(
    accepts: bool, monkeypatch: pytest.MonkeyPatch, unetkit: Unetkit
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    views: dict[str, dict[str, Any]] = {}
    handler = type("Handler", (Accepting,), {"views": views}) if accepts else Refusing
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        done = unetkit("dashboard", "project=salt", "name=day")
        server.shutdown()
    if not accepts:
        assert re.fullmatch(rf"error: dashboard is refused by {url} \(.*\); check the key .*\n", done.stderr)
        assert done.status == 1
        return
    workspace, report = done.stdout.splitlines()
    assert re.fullmatch(rf"workspace: {url}/team/salt\?nw=\w+", workspace)
    assert report == f"report: {url}/team/salt/reports/day--Vmlldzox"
    assert done.stderr == ""
    assert {kind: len(panels_of(json.loads(view["spec"]))) > 10 for kind, view in views.items()} == {
        "runs": True,
        "project-view": True,
    }
    assert not Path("dashboard.json").exists()


def test_a_server_that_is_not_reached_is_one_line(monkeypatch: pytest.MonkeyPatch, unetkit: Unetkit) -> None:
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    start = time.monotonic()
    done = unetkit("dashboard")
    assert time.monotonic() - start < 10
    fix = "try again later, or set WANDB_MODE=offline to write a file"
    assert (done.status, done.stderr) == (1, f"error: http://127.0.0.1:9 did not answer within 5 s; {fix}\n")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert unetkit("dashboard").status == 0
    assert Path("dashboard.json").exists()


def test_wrong_values_and_a_missing_extra_are_one_line(monkeypatch: pytest.MonkeyPatch, unetkit: Unetkit) -> None:
    assert unetkit("dashboard", "project=").stderr == "error: project= is missing; give a name\n"
    assert unetkit("dashboard", "output=null").stderr == "error: output=null must be one path\n"
    for name in (200 * "x", "a\N{FIRE}"):
        assert re.match(
            rf"error: name={name} is no title for W&B \(.*\)\n$", unetkit("dashboard", f"name={name}").stderr
        )
    said = "error: group=day/lr=1 must be a name without ' < = > \\ for wandb-workspaces\n"
    assert unetkit("dashboard", "group='day/lr=1'").stderr == said
    Path("file").touch()
    assert "error: output=file/both.json can't be written" in unetkit("dashboard", "output=file/both.json").stderr
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    said = 'error: dashboard needs wandb-workspaces, which is not installed; pip install "unetkit[dashboard]"\n'
    assert unetkit("dashboard").stderr == said
