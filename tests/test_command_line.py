"""Paths with signs that mean something to Hydra come through as typed."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from unetkit.command_line import quoted_paths


@pytest.mark.parametrize("name", ["epoch=3-step=120.ckpt", "scans (2)", "a,b", "it's", "[x]", "a b", "{y}", "50%"])
def test_a_path_is_read_as_typed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    (argument,) = quoted_paths([f"checkpoint={tmp_path / name}"])
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == str(tmp_path / name)


def test_all_else_stays(tmp_path: Path) -> None:
    arguments = ["-m", "model=unet_small,dumbnet", "a=[1,2]", f"b={tmp_path}", "checkpoint=runs/*/last.ckpt", "--help"]
    assert quoted_paths(arguments) == arguments
