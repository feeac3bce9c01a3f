"""TGS Salt from Kaggle, ready for `data=tgs_salt`: `python scripts/prepare_tgs.py`."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import hydra
from omegaconf import DictConfig

from unetkit.cli.command_line import start
from unetkit.errors import UserError, mistakes_in_one_line
from unetkit.paths import path_of

COMPETITION = "tgs-salt-identification-challenge"
PAGE = f"https://www.kaggle.com/c/{COMPETITION}/data"


@hydra.main(config_path="../conf", config_name="prepare_tgs", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Download with the user's Kaggle credentials, unpack the outer zip, and check what is there."""
    with mistakes_in_one_line():
        output = path_of("output", cfg.output)
        if not (output / "train.zip").exists() and not (output / "train").exists():
            download(output)
        count = check(output)
    print(f"{count} labelled images in {output}; train with: python train.py data=tgs_salt data.root={output}")


def download(output: Path) -> None:
    """Run Kaggle's client, which sits beside this Python once `.[kaggle]` is installed.

    Raises:
        UserError: If there is no client, or it could not download.
    """
    by_hand = (
        f"or download it by hand: accept the rules at {PAGE}, press 'Download All', unzip it, and put train.zip and "
        f"train.csv (test.zip for a submission) into {output}"
    )
    client = shutil.which("kaggle", path=str(Path(sys.executable).parent))
    if client is None:
        raise UserError(f'Kaggle\'s client is not installed: pip install -e ".[kaggle]", {by_hand}')
    output.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([client, "competitions", "download", "-c", COMPETITION, "-p", output], check=False)
    if done.returncode != 0:
        raise UserError(
            f"Kaggle's client could not download {COMPETITION}: put your API token into ~/.kaggle/kaggle.json "
            f"(kaggle.com, Settings, API) and accept the rules at {PAGE}; {by_hand}"
        )
    archive = output / f"{COMPETITION}.zip"
    with zipfile.ZipFile(archive) as content:
        content.extractall(output)
    archive.unlink()


def check(output: Path) -> int:
    """Number of labelled images.

    Raises:
        UserError: If files are missing.
    """
    from unetkit.data import tgs_salt_pairs

    return len(tgs_salt_pairs(output))


if __name__ == "__main__":
    start(main, __doc__, Path(__file__).parent.parent / "conf" / "prepare_tgs.yaml")
