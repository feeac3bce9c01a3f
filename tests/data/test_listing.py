"""Images are found in folders and zips, by patterns and names, and called as their files are."""

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from conftest import WriteImage, zipped

from unetkit.data.decode import read_image
from unetkit.data.files import FileRef, find_folder
from unetkit.data.layout.inputs import find_images
from unetkit.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)
RGB = RNG.integers(0, 256, (6, 5, 3), np.uint8)


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("images/a.bmp", cv2.imencode(".bmp", np.zeros((64, 64), np.uint8))[1].tobytes()))
    content = bytearray(path.read_bytes())
    content[60:70] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip/images/a\.bmp can't be read"):
        read_image(FileRef(path, "images/a.bmp"))


def test_a_folder_lists_its_images_sorted(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("b.png", "a.TIF", "c.npy", ".hidden.png"):
        write_image(tmp_path / "images" / name, GREY)
    (tmp_path / "images" / "notes.txt").write_text("")
    found = find_folder(tmp_path, "images")
    assert found is not None
    assert [ref.name.name for ref in found] == ["a.TIF", "b.png", "c.npy"]
    assert find_folder(tmp_path, "masks") is None
    assert find_folder(tmp_path / "nowhere", "images") is None


@pytest.mark.parametrize("prefix", ["", "salt/", "deep/er/"])
def test_a_zip_lists_a_folder_at_any_depth(prefix: str, tmp_path: Path) -> None:
    names = ("images/", "images/b.png", "images/a.png", "masks/a.png", "images/notes.txt", "__MACOSX/images/._a.png")
    path = zipped(tmp_path / "a.zip", *((prefix + name, b"") for name in names))
    found = find_folder(path, "images")
    assert found is not None
    assert [ref.member for ref in found] == [f"{prefix}images/a.png", f"{prefix}images/b.png"]
    assert find_folder(path, "depths") is None


def test_a_zip_may_name_its_members_from_where_it_was_made(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("./images/a.png", b"1"), ("./masks/a.png", b"2"))
    (ref,) = find_folder(path, "images") or []
    assert ref.read() == b"1"
    assert ref.fingerprint()


def test_a_zip_with_several_such_folders_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("train/images/a.png", b""), ("val/images/b.png", b""))
    with pytest.raises(UserError, match=r"a\.zip holds train/images and val/images; unpack it"):
        find_folder(path, "images")


def test_a_cut_zip_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "train.zip", ("images/a.png", bytes(RGB)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"train\.zip is not a complete zip file .*; download it again"):
        find_folder(path, "images")


def test_fingerprints_change_with_the_content(tmp_path: Path) -> None:
    members = [("a.npy", b"12"), ("b.npy", b"21"), ("c.npy", b"123")]
    archive = zipped(tmp_path / "a.zip", *members)
    zipped_prints = [FileRef(archive, name).fingerprint().removeprefix(f"{archive}/{name}") for name, _ in members]
    assert len(set(zipped_prints)) == 3
    loose = tmp_path / "a.npy"
    loose.write_bytes(b"12")
    before = FileRef(loose).fingerprint()
    assert FileRef(loose).fingerprint() == before
    loose.write_bytes(b"123")
    assert FileRef(loose).fingerprint() != before
    loose.unlink()
    loose.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"a\.npy can't be read \(No such file or directory\); replace or remove it"):
        FileRef(loose).fingerprint()


def test_images_to_predict_come_from_a_file_a_folder_or_a_zip(write_image: WriteImage, tmp_path: Path) -> None:
    path = write_image(tmp_path / "folder" / "a.png", GREY)
    archive = zipped(tmp_path / "a.zip", ("x/b.png", path.read_bytes()), ("notes.txt", b""))
    for place in (path, path.parent, archive):
        (ref,) = find_images(place)
        np.testing.assert_array_equal(read_image(ref), GREY)


def test_images_to_predict_come_from_a_pattern(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("x/a.png", "x/b.tif", "x/c.txt.png", "y/[1].png", "y/z/d.sgy"):
        write_image(tmp_path / name.replace(".sgy", ".png"), GREY).rename(tmp_path / name)

    def found(pattern: str) -> list[str]:
        return [ref.path.relative_to(tmp_path).as_posix() for ref in find_images(tmp_path / pattern)]

    assert found("x/*") == ["x/a.png", "x/b.tif", "x/c.txt.png"]
    assert found("?/a*.png") == ["x/a.png"]
    assert found("**/[ad].*") == ["x/a.png", "y/z/d.sgy"]
    assert found("y/[1].png") == ["y/[1].png"]


@pytest.mark.parametrize("place", [".", "*.png", "notes.zip"])
def test_an_input_without_images_is_named(place: str, tmp_path: Path) -> None:
    zipped(tmp_path / "notes.zip", ("notes.txt", b""))
    with pytest.raises(UserError, match="holds no image"):
        find_images(tmp_path / place)


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist; give"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"broken\.zip is not a complete zip file"):
        find_images(tmp_path / "broken.zip")


def test_images_whose_results_would_overwrite_each_other_are_named(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        write_image(tmp_path / name, GREY)
    with pytest.raises(UserError, match=r"a\.tif and a\.png would give masks of the same name; rename one"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    "name", ["a.PNG", "a.b.tif", ".hidden", ".a.png", "a.", "x", "x.nii.GZ", "y.gz", "é.jpg", "a b_.c"]
)
def test_suffix_and_stem_are_those_of_a_path_in_a_folder_and_in_a_zip(name: str) -> None:
    expected = PurePosixPath(name).suffix.lower()
    expected = ".nii.gz" if name.lower().endswith(".nii.gz") else expected
    for ref in (FileRef(Path("folder.x") / name), FileRef(Path("z.zip"), f"inner.y/{name}")):
        assert ref.suffix == expected
        assert ref.stem == name[: len(name) - len(expected)]
