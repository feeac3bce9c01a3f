"""Tab completes commands, keys and choices."""

import pytest
from conftest import Unetkit


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("unetkit tr", ["train"]),
        ("unetkit  ex", ["export"]),
        ("unetkit train", ["train"]),
        ("unetkit train model=unet_sm", ["model=unet_small"]),
        ("unetkit train model=unet_small trainer.max_e", ["trainer.max_epochs="]),
        (".venv/bin/unetkit cross-validate cross_validation.boo", ["cross_validation.bootstrap="]),
        ("unetkit predict thres", ["threshold="]),
        ("unetkit nothing model", []),
    ],
)
def test_a_word_is_completed(line: str, expected: list[str], unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", line)  # as bash does
    done = unetkit("-sc", "query=bash")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.split() == expected


@pytest.mark.parametrize("typed", [["-sc"], ["--shell-completion"], ["train", "-sc"]])
def test_bash_is_told_which_program_completes(
    typed: list[str], unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMP_LINE", raising=False)
    done = unetkit(*typed, "install=bash")
    assert done.status == 0
    assert done.stdout.rstrip().endswith("complete -o nospace -o default -F hydra_bash_completion unetkit")
