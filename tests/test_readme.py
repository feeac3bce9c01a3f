"""The README says what is there."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]


def test_it_opens_with_two_commands() -> None:
    first, second = BLOCKS[0].splitlines()
    assert first.endswith("python train.py")
    assert second.endswith("pytest")


@pytest.mark.parametrize("command", [c for c in COMMANDS if "train.py" in c])
def test_every_training_command_composes(command: str) -> None:
    words = shlex.split(command.split("#")[0])
    overrides = [w for w in words[words.index(next(w for w in words if w.endswith("train.py"))) + 1 :] if "=" in w]
    single = [re.sub(r"=([^\[]*?),.*", r"=\1", override) if "-m" in words else override for override in overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("train", single)


@pytest.mark.parametrize("group", [p.name for p in sorted((ROOT / "conf").iterdir()) if p.is_dir()])
def test_the_table_names_every_choice(group: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{group}`"))
    row += README[README.index("## Networks") :].split("\n## ")[0] if group == "model" else ""
    hidden = {"base", "unet"} if group in ("data", "model") else set()
    for choice in {p.stem for p in (ROOT / "conf" / group).glob("*.yaml")} - hidden:
        assert f"`{choice}`" in row, choice


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
