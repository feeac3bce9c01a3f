"""The page is served in this process: its address, its limits, what it does not serve."""

import socket
import sys
import urllib.error
import urllib.request

import pytest
from demo_models import EIGHT_BIT, PIXELS, model
from hydra import compose, initialize_config_dir

from unetkit.cli.demo import check_keys
from unetkit.demo import is_loopback, served, synthetic_examples
from unetkit.errors import UserError
from unetkit.paths import config_dir


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back at the end
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r'pip install "unetkit\[demo\]"'), served([], [], 1, 1, "127.0.0.1", 1):
        pass


def test_the_page_is_served_and_no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served([model(), model(3)], synthetic_examples(EIGHT_BIT), PIXELS, 1, "127.0.0.1", port) as url:
        assert url == f"http://127.0.0.1:{port}/"
        page = urllib.request.urlopen(url).read().decode()
        assert page.count("UNet, 100 parameters") == 2
        with pytest.raises(urllib.error.HTTPError, match=r"40[034]"):
            urllib.request.urlopen(f"{url}gradio_api/file=/etc/passwd")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        examples = synthetic_examples(EIGHT_BIT)
        with (
            pytest.raises(UserError, match=f"port={port} can't be listened at"),
            served([model()], examples, PIXELS, 1, "127.0.0.1", port),
        ):
            pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "checkpoint= is missing; give checkpoint=FILE.ckpt"),
        (["checkpoint=x.ckpt", "port=99999"], "port=99999 must be a whole number from 1 to 65535"),
        (["checkpoint=x.ckpt", "max_pixels=0"], "max_pixels=0 must be a whole number above 0"),
    ],
)
def test_mistakes_of_the_command_are_named(options: list[str], said: str) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("demo", options)
    with pytest.raises(UserError, match=said):
        check_keys(cfg)
