"""W&B and TensorBoard, read back from what a real run wrote."""

import json
import logging
import socket
import struct
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import pytest
import wandb
from training_runs import run
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from unetkit.errors import UserError
from unetkit.training.loggers import _has_key, wandb_logger


def read_records(path: Path) -> Iterator[Record]:
    """Records of an offline `.wandb` file: LevelDB's log format after a header of 7 bytes."""
    content, position, parts = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while position + 7 <= len(content):
        room = 32768 - position % 32768
        if room < 7:  # the rest of a block is too short for a header
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_wandb_offline_holds_scores_rate_config_tags_and_pictures(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    run(tmp_path / "run", cache, "logger=wandb", "trainer.log_every_n_steps=1", "tags=[small]", "task_name=trial")
    wandb.teardown()  # waits until all is written
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert "wandb sync" in caplog.text
    assert file.parent.name in caplog.text
    history: dict[str, list[object]] = {}
    steps: dict[str, set[object]] = {"val/iou": set(), "predictions/0": set()}
    config: dict[str, object] = {}
    words: set[str] = set()
    for record in read_records(file):
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            history.setdefault(key, []).append(json.loads(item.value_json))
        logged = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for name, found in steps.items():
            if any(key.startswith(name) for key in logged):
                found.add(logged["trainer/global_step"])
        words |= {*record.run.tags, record.run.job_type}
        for update in (*record.run.config.update, *record.config.update):
            config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
    assert {"small", "trial"} <= words
    assert len(history["val/iou"]) == 2
    assert len(steps["val/iou"]) == 2
    assert steps["val/iou"] == steps["predictions/0"]
    assert {"train/loss_step", "val/kaggle", "val/dice", "lr-AdamW/pg1"} <= history.keys()
    assert config["model.channels"] == [4, 8]
    assert config["optimizer.lr"] == 0.003
    assert len({key.split("/")[1] for key in history if key.startswith("predictions/")}) == 4
    assert '"truth"' in json.dumps(history["predictions/0/all_masks"])
    labels = config["_wandb"]["mask/class_labels"]  # type: ignore[index]
    assert '{"0": "background", "1": "foreground", "255": "void"}' in json.dumps(labels)
    media = file.parent / "files" / "media" / "images"
    images = [cv2.imread(str(path)) for path in (media / "predictions").glob("*.png")]
    assert len(images) == 2 * 4  # in each of two epochs
    assert all(image is not None and image.std() > 5 for image in images)
    assert list((media / "mask" / "predictions").glob("*.mask.png"))  # equal ones are kept once


def test_tensorboard_holds_scores_and_pictures(tmp_path: Path, cache: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path / "run", cache, "logger=tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("val/iou")) == 2
    names = [name for name in events.Tags()["images"] if name.startswith("predictions/")]
    assert len(names) == 4
    assert {"curves/precision_recall", "curves/confusion"} < {*events.Tags()["images"]}
    assert events.Scalars("summary/parameters")[0].value > 1000
    at = [event.step for event in events.Scalars("val/iou")]
    assert all([event.step for event in events.Images(name)] == at for name in names)


@pytest.fixture
def wandb_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A key of W&B, and a process whose W&B has no settings yet."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    yield
    wandb.teardown()


class Refusing(BaseHTTPRequestHandler):
    """A server that accepts no key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        content = b'{"errors": [{"message": "user is not logged in"}]}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def refusing_server() -> Iterator[str]:
    """The address of a server that accepts no key."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_key")
def test_a_run_is_logged_offline_where_wandb_is_not_reached(
    silent_server: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for url in (silent_server, "http://127.0.0.1:9", "http://no-such-host.invalid"):
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", url)
        start = time.monotonic()
        wandb_logger(save_dir=str(tmp_path / "run"), project="p")
        assert time.monotonic() - start < 10
        assert f"{url} did not answer within 5 s, so this run is logged offline" in caplog.text
    run(tmp_path / "run", cache, "logger=wandb")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.usefixtures("wandb_key")
def test_a_server_that_does_not_answer_is_not_waited_for(
    silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("unetkit.training.loggers.PATIENCE", 0.5)
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    logger = wandb_logger(save_dir=str(tmp_path / "run"), project="p")
    assert "so this run is logged offline" in caplog.text
    assert logger.experiment.offline
    logger.experiment.finish()


@pytest.mark.usefixtures("wandb_key")
def test_a_key_that_wandb_refuses_is_one_line(
    refusing_server: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", refusing_server)
    said = rf"logger=wandb is refused by {refusing_server} \(.*user is not logged in.*\); check the key .*mode=offline"
    with pytest.raises(UserError, match=said):
        run(tmp_path / "run", cache, "logger=wandb")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    wandb.teardown()
    with pytest.raises(UserError, match=r"logger=wandb is refused .*API key must have 40\+ characters"):
        run(tmp_path / "run", cache, "logger=wandb")


@pytest.mark.usefixtures("wandb_key")
def test_wandb_can_be_switched_off(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unetkit")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run(tmp_path / "run", cache, "logger=wandb")
    assert not (tmp_path / "run" / "wandb").exists()
    assert "the run lies in" in caplog.text
    assert "wandb sync" not in caplog.text


def test_an_unknown_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"logger\.wandb\.mode=sometimes"):
        wandb_logger(save_dir=".", project="p", mode="sometimes")
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match="WANDB_MODE=sometimes must be one of online, offline, disabled"):
        wandb_logger(save_dir=".", project="p")


@pytest.mark.parametrize("name", [".netrc", "_netrc"])
def test_a_login_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert not _has_key()
    (tmp_path / name).write_text("machine api.wandb.ai login user password none\n")
    assert _has_key()
