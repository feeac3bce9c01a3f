"""Checkpoints go to the Hugging Face Hub and come back, against a stand-in that its own client talks to over HTTP."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Unetkit, free_port
from hub_server import TOKEN, Hub, hub

import unetkit as package
from unetkit.errors import UserError


def turn_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client in this process ask another place, which HF_ENDPOINT says when it is imported."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for module in ("constants", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in, to which the client in this process is turned."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 5)
    with hub() as server:
        turn_to(server.url, monkeypatch)
        yield server


@pytest.fixture
def trained(tmp_path: Path, unetkit: Unetkit, checkpoint: Path) -> Path:
    """A checkpoint whose metadata is enough for a card."""
    from unetkit.checkpoints.checkpoint import Checkpoint, save_weights

    read = Checkpoint.read(checkpoint)
    read.metadata.data.update(name="test")
    save_weights(tmp_path / "a.ckpt", read.metadata, read.state_dict)
    return tmp_path / "a.ckpt"


def test_a_checkpoint_that_is_pushed_is_loaded_from_its_address(
    server: Hub, trained: Path, unetkit: Unetkit, tmp_path: Path
) -> None:
    done = unetkit("push", f"checkpoint={trained}", "repo=me/salt")
    assert done.status == 0, done.stderr
    assert "wrote hf://me/salt; next: " in done.stdout
    assert "predict checkpoint=hf://me/salt input=FILE_OR_FOLDER" in done.stdout
    assert server.private == {"me/salt"}
    files = server.files["me/salt"]["main"]
    assert sorted(files) == ["README.md", "model.ckpt"]
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: unetkit\npipeline_tag: image-segmentation\n")
    assert "\n---\n\n# salt\n" in card
    assert 'unetkit.load("hf://me/salt", "auto", tta="flip")' in card
    assert "The licence of the weights is not stated" in card
    assert "weights: MIT" not in card
    image = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    wanted = package.load(trained)(image).probability
    for address in ("hf://me/salt", "hf://me/salt@main", "hf://me/salt@main/model.ckpt", "hf://me/salt/model.ckpt"):
        np.testing.assert_array_equal(package.load(address)(image).probability, wanted)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    places = f"input={tmp_path / 'image.png'}", f"output={tmp_path / 'out.png'}"
    done = unetkit("predict", "checkpoint=hf://me/salt@main", *places)
    assert done.status == 0, done.stderr
    assert (tmp_path / "out.png").is_file()


def test_a_second_push_replaces_the_first_and_a_branch_is_another(server: Hub, trained: Path) -> None:
    assert package.push_to_hub(trained, "me/salt", public=True) == "hf://me/salt"
    first = server.files["me/salt"]["main"]["model.ckpt"]
    server.files["me/salt"]["v2"] = {}
    assert package.push_to_hub(trained, "me/salt", half=True, revision="v2") == "hf://me/salt@v2"
    assert server.private == set()
    assert server.files["me/salt"]["main"]["model.ckpt"] == first
    assert len(server.files["me/salt"]["v2"]["model.ckpt"]) < len(first)
    assert 'load("hf://me/salt@v2"' in server.files["me/salt"]["v2"]["README.md"].decode()


def test_what_the_hub_does_not_have_is_named_in_one_line(
    server: Hub, trained: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.push_to_hub(trained, "me/salt")
    said = {
        "hf://me/none": "is not on the Hub, or not for you; check the name, and log in with a token that may use it: ",
        "hf://me/salt@v9": "has no such revision on the Hub; give a branch, tag or commit of the repository",
        "hf://me/salt/other.ckpt": "has no such file on the Hub; give hf://OWNER/NAME/FILE; without FILE",
        "hf://salt": "is no address of the Hub; give hf://OWNER/NAME[@REVISION][/FILE]",
        "hf://me/..": "is refused by the Hub (Repo id must",
    }
    for address, line in said.items():
        with pytest.raises(UserError) as caught:
            package.load(address)
        assert str(caught.value).startswith(f"checkpoint={address} {line}")
    with pytest.raises(UserError, match=r"README\.md can't be read safely as a checkpoint"):
        package.load("hf://me/salt/README.md")
    done = unetkit("predict", "checkpoint=hf://me/none", "input=x")
    assert done.stderr.startswith("error: checkpoint=hf://me/none is not on the Hub")
    assert done.stderr.count("\n") == 1
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = unetkit("push", f"checkpoint={trained}", "repo=me/salt")
    assert done.stderr.startswith("error: repo=me/salt is not on the Hub, or not for you; check the name, and log in")
    with pytest.raises(UserError, match="hf://me/salt is not on the Hub, or not for you"):
        package.load("hf://me/salt")  # the token decides, not the cache


def test_without_a_network_the_cache_is_used_and_what_it_lacks_is_named(
    server: Hub, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.push_to_hub(trained, "me/salt")
    package.load("hf://me/salt")
    turn_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
    monkeypatch.setattr("huggingface_hub.file_download._DEFAULT_RETRY_ON_EXCEPTIONS", (), raising=False)  # 30 s
    package.load("hf://me/salt")
    with pytest.raises(UserError, match=r"hf://me/other can't be reached \(.*\); check the network, or give a file"):
        package.load("hf://me/other")
    with pytest.raises(UserError, match=r"repo=me/salt can't be reached"):
        package.push_to_hub(trained, "me/salt")


@pytest.mark.slow
def test_a_hub_that_is_not_reached_is_one_line_though_the_client_is_imported_only_then(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    program = "from unetkit.checkpoints.hub import download; download('hf://me/salt', 'checkpoint')"
    program = f"from unetkit.errors import mistakes_in_one_line\nwith mistakes_in_one_line(): {program}"
    variables = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: checkpoint=hf://me/salt can't be reached")
    assert done.stderr.count("\n") == 1


def test_a_missing_token_and_a_missing_extra_are_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unetkit: Unetkit
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"repo=me/salt needs a token of the Hub; set HF_TOKEN, or run: hf auth login"):
        package.push_to_hub(trained, "me/salt")
    assert unetkit("push").stderr == "error: checkpoint= is missing; give checkpoint=RUN repo=OWNER/NAME\n"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r'hf://me/salt needs huggingface_hub; pip install "unetkit\[hub\]"'):
        package.load("hf://me/salt")


@pytest.mark.slow
def test_the_address_of_the_hub_is_that_of_the_environment(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with hub() as server:
        variables = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN}
        command = [sys.executable, "-m", "unetkit", "push", f"checkpoint={trained}", "repo=me/salt"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(server.files["me/salt"]["main"]) == ["README.md", "model.ckpt"]
