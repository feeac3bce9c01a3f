"""`unetkit prepare-tgs` on files that are there already, and where it can't write."""

import zipfile
from pathlib import Path

from conftest import Unetkit

from unetkit.data import synthetic


def test_the_images_that_are_there_are_counted(tmp_path: Path, unetkit: Unetkit) -> None:
    source, output = synthetic.write(tmp_path / "made", count=6, size=32), tmp_path / "tgs salt"
    output.mkdir()
    with zipfile.ZipFile(output / "train.zip", "w") as archive:
        for path in sorted(source.glob("*/*.png")):
            archive.write(path, path.relative_to(source))
    (output / "train.csv").write_bytes((source / "train.csv").read_bytes())
    done = unetkit("prepare-tgs", f"output={output}")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"6 labelled images in {output}; next: ")
    assert done.stdout.endswith(f" train data=tgs_salt 'data.root={output}'\n")


def test_a_folder_that_can_not_be_written_is_one_line(unetkit: Unetkit) -> None:
    done = unetkit("prepare-tgs", "output=/proc/none")
    assert done.status == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
