"""A checkpoint is read once, without running code from it, and says what is needed to predict or to train on."""

import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unetkit
from unetkit.checkpoints.checkpoint import Checkpoint, save_weights
from unetkit.checkpoints.files import find_checkpoints
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import UNet

MODEL = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": 1, "channels": [4, 8]}


def saved(path: Path, **changes: Any) -> Path:
    """Write a checkpoint of a fresh network, with changes to its metadata."""
    metadata = Metadata(MODEL, Preprocessing(1, None, (0.4,), (0.2,)), 0.6, {"name": "test"})
    save_weights(path, metadata, UNet(1, 1, [4, 8]).state_dict())
    if changes:
        content = torch.load(path, weights_only=True)
        content["unetkit"] |= changes
        torch.save(content, path)
    return path


def test_a_loaded_checkpoint_predicts(tmp_path: Path) -> None:
    predictor = unetkit.load(saved(tmp_path / "a.ckpt"))
    assert predictor.threshold == 0.6
    assert predictor.preprocessing == Preprocessing(1, None, (0.4,), (0.2,))
    assert not predictor.network.training
    assert predictor(np.zeros((21, 34), np.uint8)).mask.shape == (21, 34)


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "unetkit.models.unet.torch.load", "unetkit.models.activation_bytes", "None"],
)
def test_a_strangers_checkpoint_runs_no_code(tmp_path: Path, target: str) -> None:
    path = saved(tmp_path / "a.ckpt", model={"_target_": target, "command": f"touch {tmp_path}/harm"})
    with pytest.raises(UserError, match="is not a network"):
        unetkit.load(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["a.onnx", "a.pt2", "a.xml"])
def test_an_exported_network_is_named_as_such(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 or another beginning")
    with pytest.raises(UserError, match="is an exported network, not a checkpoint; give the run or the"):
        unetkit.load(tmp_path / name)


def test_a_pickle_with_code_is_not_opened(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "harm",)  # type: ignore[return-value]

    torch.save({"unetkit": {"format": 1}, "x": Harm()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="can't be read safely"):
        unetkit.load(tmp_path / "a.ckpt")
    assert not (tmp_path / "harm").exists()


def flip_bit(file: Path, position: int) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 64
    file.write_bytes(content)


def test_one_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.ckpt")
    whole, size = Checkpoint.read(file), file.stat().st_size
    refusals = []
    for position in [0, 1, 40, size - 30, *range(100, size, size // 60)]:
        flip_bit(file, position)
        try:
            read = Checkpoint.read(file)
        except UserError as refusal:
            refusals.append(refusal.problem)
        else:  # in the padding between tensors
            assert read.metadata == whole.metadata
            assert all(torch.equal(read.state_dict[key], x) for key, x in whole.state_dict.items())
        flip_bit(file, position)
    assert len(refusals) > 30
    assert all("can't be read safely as a checkpoint" in refusal for refusal in refusals)


def test_a_weight_with_a_flipped_bit_is_named_by_its_checksum(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.ckpt")
    values = UNet(1, 1, [4, 8])
    content = torch.load(file, weights_only=True)
    values.load_state_dict({k.removeprefix("network."): x for k, x in content["state_dict"].items()})
    flip_bit(file, file.read_bytes().index(values.head.weight.detach().numpy().tobytes()))
    with pytest.raises(UserError, match=r"as a checkpoint \(damaged: the checksum of \d+ differs\); give another"):
        unetkit.load(file)


@pytest.mark.parametrize("size", [0, 1000])
def test_the_whole_checkpoint_beside_a_damaged_one_is_named(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    best, last = saved(folder / "best.ckpt"), saved(folder / "last.ckpt")
    (folder / "newest.ckpt").write_bytes(b"also damaged")
    last.write_bytes(last.read_bytes()[:size])
    with pytest.raises(UserError) as error:
        unetkit.load(tmp_path / "run")
    assert error.value.fix == f"give checkpoint={best}, which is whole"
    last.unlink()
    with pytest.raises(UserError, match=f"holds no checkpoints/last.ckpt; give weights={best}, which is whole"):
        Checkpoint.read(tmp_path / "run", "weights")


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**7))
    with pytest.raises(UserError, match="damaged: its content is larger than the file"):
        unetkit.load(tmp_path / "a.ckpt")


def test_a_checkpoint_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        assert unetkit.load(saved(tmp_path / "a.ckpt")).threshold == 0.6
    finally:
        torch.serialization.set_crc32_options(True)


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        unetkit.load(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UserError, match="can't be read safely"):
        unetkit.load(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not written by this version"):
        unetkit.load(tmp_path / "other.ckpt")
    path = saved(tmp_path / "misfit.ckpt", model={**MODEL, "channels": [4, 6]})
    with pytest.raises(UserError, match="do not fit its own network"):
        unetkit.load(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "damaged: it does not say its model"),
        ({"threshold": "high"}, "damaged: it does not say its threshold"),
        ({"model": {**MODEL, "spectral": True}}, "this version of unetkit lacks .*'spectral'"),
        ({"preprocessing": {"channels": 1, "gamma": 2.2}}, "this version of unetkit lacks .*'gamma'"),
        ({"preprocessing": {"channels": 1, "mean": ("a",)}}, "damaged: its preprocessing is .*'a'"),
        ({"preprocessing": {"channels": 1, "value_range": (math.nan, 1.0)}}, "damaged: its preprocessing is"),
        ({"preprocessing": {"channels": 2, "std": (1.0, 1.0, 1.0)}}, "damaged: its preprocessing is"),
        ({"model": {**MODEL, "channels": [1] * 100_000}}, "a much larger network than its weights are of"),
    ],
)
def test_metadata_that_this_version_lacks_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        unetkit.load(saved(tmp_path / "a.ckpt", **changes))


def test_a_strangers_checkpoint_asks_no_server_for_its_encoder(tmp_path: Path) -> None:
    model = {"_target_": "unetkit.models.SMPNetwork", "num_classes": 1, "encoder": "tu-hf-hub:somebody/something"}
    with pytest.raises(UserError, match=r"model\.encoder=tu-hf-hub:somebody/something must be the name of an encoder"):
        unetkit.load(saved(tmp_path / "a.ckpt", model=model))


def test_a_run_directory_stands_for_its_last_checkpoint(tmp_path: Path) -> None:
    for fold in "ab":
        (tmp_path / fold / "checkpoints").mkdir(parents=True)
        saved(tmp_path / fold / "checkpoints" / "last.ckpt")
    files = [tmp_path / fold / "checkpoints" / "last.ckpt" for fold in "ab"]
    assert find_checkpoints([str(tmp_path / "a"), str(files[1])]) == find_checkpoints(str(tmp_path / "*")) == files
    assert unetkit.load(tmp_path / "a").threshold == 0.6


@pytest.mark.parametrize("given", [[], [str, None], "none/*.ckpt"])
def test_a_path_that_matches_no_checkpoint_is_named(given: object) -> None:
    with pytest.raises(UserError, match="checkpoint="):
        find_checkpoints(given)


def test_missing_weights_are_named_by_their_key() -> None:
    with pytest.raises(UserError, match=r"^weights=none\.ckpt does not exist"):
        Checkpoint.read("none.ckpt", "weights")


def test_checkpoints_of_folds_are_averaged(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a.ckpt", threshold=0.4), saved(tmp_path / "b.ckpt", threshold=0.6)]
    image = np.random.default_rng(0).integers(0, 255, (33, 20), np.uint8)
    ensemble = unetkit.load_ensemble(paths, tta="flip")
    members = [unetkit.load(path, tta="flip")(image).probability for path in paths]
    np.testing.assert_allclose(ensemble(image).probability, (members[0] + members[1]) / 2, atol=1e-6)
    assert ensemble.threshold == pytest.approx(0.5)
    assert (ensemble.classes, [member.tta for member in ensemble.members]) == (2, ["flip", "flip"])


def test_only_networks_of_the_same_classes_are_averaged(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a.ckpt"), saved(tmp_path / "b.ckpt", model={**MODEL, "num_classes": 4})]
    with pytest.raises(UserError, match=r"b\.ckpt tells 4 classes apart, but .*a\.ckpt 2; average only"):
        unetkit.load_ensemble(paths)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "tpu"}, "device=tpu must be auto, cpu, cuda"),
        ({"device": "cuda:99"}, "device=cuda:99 is not there: torch sees"),
        ({"tta": "rotate"}, "tta=rotate must be one of none, flip, d4, rotations"),
        ({"tile": 64, "overlap": 64}, "overlap=64 must be at least 0 and smaller than tile=64"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        unetkit.load(saved(tmp_path / "a.ckpt"), **options)


def test_device_auto_takes_a_gpu_if_there_is_one(tmp_path: Path) -> None:
    wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    predictor = unetkit.load(saved(tmp_path / "a.ckpt"), "auto")
    assert next(predictor.network.parameters()).device.type == wanted


@pytest.mark.parametrize("extra", [{}, {"min_area": 5}, {"batches_of_epoch": 0}, {"monitored": 0.0}])
def test_metadata_come_back_as_they_were_written(extra: dict[str, Any]) -> None:
    data = {"name": "test", "class_names": ["rest", "salt"]}
    metadata = replace(Metadata(MODEL, Preprocessing(1), 0.6, data, {"optimizer": "adam"}), **extra)
    stored = metadata.to_dict()
    assert Metadata.from_dict(stored, "a.ckpt") == metadata
    assert stored.keys() - {"format", "model", "preprocessing", "threshold", "data", "recipe"} == extra.keys()
    assert (metadata.num_classes, metadata.classes, metadata.data_name) == (1, 2, "test")
    assert metadata.class_names == ["rest", "salt"]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    content = torch.load(saved(tmp_path / "a.ckpt"), weights_only=True)
    content["state_dict"]["network.head.bias"][:] = torch.nan
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"holds weights that are not finite \(NaN\): its training diverged"):
        unetkit.load(tmp_path / "a.ckpt")


def test_weights_fill_a_network_and_layers_of_other_classes_keep_theirs(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(saved(tmp_path / "a.ckpt"))
    same, other = UNet(1, 1, [4, 8], dropout=0.2), UNet(1, 3, [4, 8])
    head = other.head.weight.clone()
    assert checkpoint.load_weights_into(same, {**MODEL, "dropout": 0.2}) == []
    assert checkpoint.load_weights_into(other, {**MODEL, "num_classes": 3}) == ["head.weight", "head.bias"]
    for key, value in checkpoint.state_dict.items():
        assert torch.equal(same.state_dict()[key], value)
        assert key.startswith("head.") or torch.equal(other.state_dict()[key], value)
    assert torch.equal(other.head.weight, head)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(saved(tmp_path / "a.ckpt"), "weights")
    said = r"weights=.* of another network: model.channels=\[4, 8\] \(here \[4, 6\]\); the two must be the same"
    with pytest.raises(UserError, match=said):
        checkpoint.load_weights_into(UNet(1, 1, [4, 6]), {**MODEL, "channels": [4, 6]})
