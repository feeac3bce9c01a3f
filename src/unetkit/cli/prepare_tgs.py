"""Download TGS Salt from Kaggle for `data=tgs_salt`: `unetkit prepare-tgs`."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line
from unetkit.paths import command_line, config_dir, path_of

COMPETITION = "tgs-salt-identification-challenge"
PAGE = f"https://www.kaggle.com/c/{COMPETITION}/data"


@hydra.main(config_path=str(config_dir()), config_name="prepare_tgs", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Download with the user's Kaggle credentials, unpack the outer zip, and check that all files are there."""
    with mistakes_in_one_line():
        output = path_of("output", cfg.output)
        if not (output / "train.zip").exists() and not (output / "train").exists():
            download(output)
        count = count_pairs(output)
    print(f"{count} labelled images in {output}; next: {command_line('train', 'data=tgs_salt', f'data.root={output}')}")


def download(output: Path) -> None:
    """Run Kaggle's client, which lies beside this Python once the extra `kaggle` is installed.

    Raises:
        UserError: If there is no client, or it could not download.
    """
    by_hand = (
        f"or download it by hand: accept the rules at {PAGE}, press 'Download All', unzip it, and put train.zip and "
        f"train.csv (test.zip for a submission) into {output}"
    )
    client = shutil.which("kaggle", path=str(Path(sys.executable).parent))
    if client is None:
        raise UserError("Kaggle's client", "is not installed", f'pip install "unetkit[kaggle]", {by_hand}')
    output.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([client, "competitions", "download", "-c", COMPETITION, "-p", output], check=False)
    if done.returncode != 0:
        raise UserError(
            "Kaggle's client",
            f"could not download {COMPETITION}",
            "put your API token into ~/.kaggle/kaggle.json (kaggle.com, Settings, API) and accept the rules at "
            f"{PAGE}; {by_hand}",
        )
    archive = output / f"{COMPETITION}.zip"
    with zipfile.ZipFile(archive) as content:
        content.extractall(output)
    archive.unlink()


def count_pairs(output: Path) -> int:
    """Return the number of labelled images.

    Raises:
        UserError: If files are missing.
    """
    from unetkit.data import tgs_salt_pairs

    return len(tgs_salt_pairs(output))


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "prepare_tgs")
