"""README and docs name commands, files, choices and figures that exist."""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unetkit.cli.tune import is_own
from unetkit.training.search_space import read_space, suggest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
ALL = {"README.md": README, **PAGES}
BASES = {"unet", "smp"}  # files that others build on
CONFIGS = {"import": "import_checkpoint"}  # of `unetkit import`; all others are called as their command


def blocks(text: str, language: str) -> list[str]:
    """Code blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[str]:
    """Lines of the bash blocks of a page that start one of our commands."""
    lines = [line for block in blocks(text, "bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.search(r"(^|&& )(\S*python (train|scripts/\w+)\.py|unetkit [a-z-]+)", line)]


def test_readme_opens_with_two_commands() -> None:
    first, second = blocks(README, "bash")[0].splitlines()
    assert first.endswith("python train.py")
    assert second.endswith("pytest")


def test_readme_is_short_and_its_lines_wrap() -> None:
    assert len(README.split()) <= 900
    prose = [
        line for line in re.sub(r"```.*?```", "", README, flags=re.DOTALL).splitlines() if not line.startswith("|")
    ]
    assert max(map(len, prose)) <= 125


@pytest.mark.parametrize("page", ALL)
def test_every_command_composes(page: str) -> None:
    for command in commands(ALL[page]):
        words = shlex.split(command.split(" #")[0].rpartition("&& ")[2])
        name = words[1] if words[0] == "unetkit" else Path(words[1]).stem
        if name == "benchmark":  # has options of its own
            continue
        overrides = [word for word in words[2:] if "=" in word]
        if "-m" in words:  # the first run of a grid
            overrides = [re.sub(r"=([^\[]*?),.*", r"=\1", override) for override in overrides]
        if "--config-dir" in words:  # a file of the reader's
            continue
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            if name == "tune":  # the first trial
                space = dict(compose(name, [text for text in overrides if is_own(text)]).sweep)
                varied, fixed = read_space(name, space, [text for text in overrides if not is_own(text)])
                overrides, name = [*fixed, *suggest(optuna.create_study().ask(), varied)], "train"
            compose(CONFIGS.get(name, name.replace("-", "_")), overrides)


def test_configuration_files_of_one_s_own_are_found_as_described(tmp_path: Path) -> None:
    experiment, model = blocks(PAGES["docs/own_data.md"], "yaml")
    for name, content in {"experiment/cells": experiment, "model/narrow": model}.items():
        file = tmp_path / "my_conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(content)
    typed = ["train", "--config-dir", "my_conf", "experiment=cells", "model=narrow", "--cfg", "job"]
    run = [sys.executable, "-m", "unetkit", *typed]
    cfg = OmegaConf.create(subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert cfg.data.root == "my_data"
    assert cfg.trainer.max_epochs == 100
    assert cfg.model.channels == [8, 16, 24, 32]
    assert cfg.model.upsampling == "transposed"  # of model=unet


@pytest.mark.parametrize("page", ALL)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", ALL[page]):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ALL)
def test_every_file_that_is_named_exists(page: str) -> None:
    for name in re.findall(r"`((?:src|tests|conf|scripts|docs|results|checkpoints)/[\w./-]*)`", ALL[page]):
        if "NAME" in name or name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt"):  # the latter of a run
            continue
        assert (ROOT / name).exists(), f"{page}: {name}"


@pytest.mark.parametrize("page", ALL)
def test_python_examples_can_be_read(page: str) -> None:
    for block in blocks(ALL[page], "python"):
        ast.parse(block)


def test_the_example_of_networks_losses_and_metrics_runs() -> None:
    (block,) = (block for block in blocks(PAGES["docs/python.md"], "python") if "UNet(" in block)
    exec(compile(block, "docs/python.md", "exec"), {})


@pytest.mark.parametrize("group", ["model", "loss"])
def test_networks_and_losses_are_explained(group: str) -> None:
    page = PAGES["docs/networks.md" if group == "model" else "docs/losses.md"]
    for choice in {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - BASES:
        assert f"`{choice}`" in page, choice


@pytest.fixture(scope="module")
def reference() -> str:
    """What docs/generate_configuration.py makes of conf/."""
    script = ROOT / "docs" / "generate_configuration.py"
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout


def test_the_reference_has_every_key_of_a_training(reference: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("train"), resolve=False)
    for key in leaves(cfg):
        if not re.search(r"(^|\.)_\w+_$", key):
            assert f"| `{key}` |" in reference, key


def test_the_reference_has_every_choice(reference: str) -> None:
    for path in sorted((ROOT / "conf").glob("*/**/*.yaml")):
        group = path.parent.relative_to(ROOT / "conf").as_posix()
        assert f"#### `{group}={path.stem}`" in reference, path


def test_the_reference_has_defaults_and_comments(reference: str) -> None:
    line = next(line for line in reference.splitlines() if line.startswith("| `augment.displacement_px`"))
    assert line.startswith("| `augment.displacement_px` | `3.0` | root mean square")


def test_a_key_that_a_choice_changes_keeps_the_comment_of_its_base(reference: str) -> None:
    section = reference.split("#### `augment=mild_device`")[1].split("####")[0]
    assert "| `augment.displacement_px` | `2.0` | root mean square" in section


def leaves(node: Any, before: str = "") -> list[str]:
    """Dotted keys of a nested mapping that hold a value."""
    if isinstance(node, dict) and node:
        return [key for name, value in node.items() for key in leaves(value, f"{before}.{name}" if before else name)]
    return [before] if not isinstance(node, dict) else []


def test_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    released = re.search(r"^## (\d\S*) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert released
    assert released[1] == version
    assert f"version: {version}\n" in citation
    assert f'date-released: "{released[2]}"' in citation


@pytest.mark.parametrize("recipe", ["tgs_small", "tgs_base", "tgs_best"])
@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_scores_are_those_of_the_results(page: str, recipe: str) -> None:
    summary = json.loads((ROOT / "results" / recipe / "summary.json").read_text())
    (model,) = summary["models"].values()
    score = model["scores"]["per_image/kaggle"]
    value, low, high = (f"{score[key]:.3f}" for key in ("value", "low", "high"))
    row = next(line for line in ALL[page].splitlines() if f"experiment={recipe}`" in line and line.startswith("|"))
    assert value in row, row
    assert f"({low} to {high})" in row, row
