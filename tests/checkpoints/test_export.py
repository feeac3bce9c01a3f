"""Exported networks predict as PyTorch does: in ONNX Runtime, in torch.export, from Python and from C++."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from conftest import Unetkit
from numpy.typing import NDArray
from torch import Tensor, nn

import unetkit
from unetkit.checkpoints import export as exporting
from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.export import export
from unetkit.checkpoints.loading import load_ensemble
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.errors import UserError
from unetkit.models import DumbNet, ResidualUNet, UNet
from unetkit.prediction.ensemble import Ensemble
from unetkit.prediction.predictor import Predictor

ROOT = Path(__file__).parents[2]
ORT = Path(os.environ.get("ONNXRUNTIME_ROOT", "/usr"))
HEADER = next((ORT / "include").rglob("onnxruntime_cxx_api.h"), None)
PLAIN = Preprocessing(1, None, (0.4,), (0.2,))
WIDE = Preprocessing(1, (-1500.0, 3000.0), (0.4,), (0.2,))
RGB = Preprocessing(3, None, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2))


def settled(network: nn.Module) -> nn.Module:
    """Give a network running statistics as after training, so that features stay of order 1."""
    channels = next(module for module in network.modules() if isinstance(module, nn.Conv2d)).in_channels
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.randn(2, channels, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network."""
    network = settled(UNet(1, 1, [4, 8], padding="reflect", upsampling="bilinear"))
    model: dict[str, object] = {
        "_target_": "unetkit.models.UNet",
        "channels": [4, 8],
        "padding": "reflect",
        "upsampling": "bilinear",
    }
    model |= {"in_channels": 1, "num_classes": 1}
    file = tmp_path_factory.mktemp("run") / "last.ckpt"
    metadata = Metadata(model, PLAIN, 0.6, {"name": "test", "class_names": ["rest", "salt"]})
    save_weights(file, metadata, network.state_dict())
    return file


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Path) -> Path:
    """The ONNX file of that checkpoint."""
    file = checkpoint.parent / "new" / "model.onnx"
    assert export(unetkit.load(checkpoint), file, class_names=["rest", "salt"]) <= exporting.TOLERANCE
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "preprocessing"),
    [
        (UNet(1, 2, [4, 8], padding="valid", norm="none"), WIDE),
        (ResidualUNet(1, 3, [4, 6], encoder_blocks=[0, 1], decoder_blocks=[0], dilations=[1, 2]), PLAIN),
        (DumbNet(3, 1, 4), RGB),
    ],
    ids=["valid", "residual", "dumbnet"],
)
def test_other_networks_and_value_ranges_agree_at_any_size(
    network: nn.Module, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    predictor = Predictor(settled(network), preprocessing)
    file = tmp_path / "model.onnx"
    assert export(predictor, file) <= 1e-4
    assert_agrees(file, predictor)
    assert list(tmp_path.iterdir()) == [file]


def test_onnx_runtime_agrees_with_the_checkpoint_at_any_size(checkpoint: Path, onnx_file: Path) -> None:
    assert_agrees(onnx_file, unetkit.load(checkpoint))


def test_raw_values_are_scaled_and_rounded_as_in_training() -> None:
    class Identity(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    raw = np.linspace(-2000, 3500, 400, dtype=np.float32).reshape(20, 20)
    whole = exporting.RawToProbabilities(Identity(), Preprocessing(1, WIDE.value_range), is_multilabel=False)
    logits = torch.logit(whole(torch.from_numpy(raw)[None, None]).double())
    expected = WIDE.to_uint8(raw)[..., 0] / 255
    np.testing.assert_allclose(logits[0, 0].numpy(), expected, atol=1e-6)


def test_the_metadata_says_how_to_use_the_file(onnx_file: Path) -> None:
    session = onnxruntime.InferenceSession(onnx_file)
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["threshold"] == 0.6
    assert facts["min_area"] == 0
    assert facts["input"] == "uint8"
    assert facts["channels"] == 1
    assert facts["value_range"] is None
    assert facts["class_names"] == ["rest", "salt"]
    assert facts["unetkit"]
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("images", ["batch", 1, "height", "width"], "tensor(uint8)")
    assert (answer.name, answer.shape) == ("probabilities", ["batch", 1, "height", "width"])


@pytest.mark.slow
def test_torch_export_agrees_with_the_checkpoint_for_any_size(checkpoint: Path, tmp_path: Path) -> None:
    predictor = unetkit.load(checkpoint)
    assert export(predictor, tmp_path / "a.pt2", "torch") <= 1e-4
    extra = {"unetkit.json": ""}
    module = torch.export.load(tmp_path / "a.pt2", extra_files=extra).module()
    assert json.loads(extra["unetkit.json"])["threshold"] == 0.6
    for height, width in ((20, 31), (32, 64), (3, 2)):
        image = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
        probability = module(torch.from_numpy(image)[None, None])[0, 0].numpy(force=True)
        np.testing.assert_allclose(probability, predictor(image).probability, atol=1e-4)


def test_a_file_that_differs_from_pytorch_is_not_kept(tmp_path: Path) -> None:
    class Unsteady(nn.Conv2d):
        """Another network in a trace than outside."""

        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + (0.1 if torch.compiler.is_compiling() else 0)

    with pytest.raises(UserError, match="would differ from PyTorch by up to"):
        export(Predictor(Unsteady(1, 1, 1), PLAIN), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r'needs onnxscript; pip install "unetkit\[export\]"'):
        export(Predictor(DumbNet(1, 1, 2), PLAIN), tmp_path / "a.onnx")


@pytest.mark.slow
def test_the_python_example_writes_the_predictors_mask(checkpoint: Path, onnx_file: Path, tmp_path: Path) -> None:
    pixels = write_image(tmp_path / "image.png")
    example = ROOT / "examples" / "onnx_python.py"
    done = run(sys.executable, example, onnx_file, tmp_path / "image.png", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, unetkit.load(checkpoint)(pixels).mask * 255)
    strict = strict_file(checkpoint, tmp_path)
    done = run(sys.executable, example, strict, tmp_path / "image.png", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED), 0 * pixels)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels.astype(np.uint16) * 257)
    done = run(sys.executable, example, onnx_file, tmp_path / "deep.png", tmp_path / "mask.png")
    assert done.returncode == 1
    assert (
        done.stderr == f"{tmp_path / 'deep.png'} is not an 8-bit image, but the network was trained on 8-bit images\n"
    )


def test_an_unknown_format_and_a_place_that_cant_be_written_are_named() -> None:
    predictor = Predictor(DumbNet(1, 1, 2), PLAIN)
    with pytest.raises(UserError, match="format=tflite must be one of onnx, torch"):
        export(predictor, Path("a.onnx"), "tflite")
    with pytest.raises(UserError, match=r"output=/proc/none/a.onnx can't be written"):
        export(predictor, Path("/proc/none/a.onnx"))


@pytest.mark.slow
def test_the_command_writes_a_file_that_agrees(checkpoint: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "scripts" / "export.py"]
    done = run(*command, f"checkpoint={checkpoint}", f"output={tmp_path / 'model.onnx'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "largest difference" in done.stdout.splitlines()[-1]
    assert len(done.stdout.splitlines()) == 2
    assert_agrees(tmp_path / "model.onnx", unetkit.load(checkpoint))
    done = run(*command)
    assert done.returncode == 1
    assert done.stderr == "error: checkpoint= is missing; give checkpoint=FILE.ckpt and output=FILE.onnx\n"


@pytest.mark.slow
@pytest.mark.skipif(
    HEADER is None or shutil.which("g++") is None,
    reason="needs g++ and ONNX Runtime's C++ header: ONNXRUNTIME_ROOT=FOLDER that holds include/",
)
def test_the_cpp_example_writes_the_predictors_mask(checkpoint: Path, onnx_file: Path, tmp_path: Path) -> None:
    assert HEADER is not None
    # The library is that of the Python package, under the name that the linker looks for.
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(library)
    linked: list[str | Path] = [
        "-I",
        HEADER.parent,
        "-L",
        tmp_path,
        f"-Wl,-rpath,{tmp_path}",
        "-lonnxruntime",
        "-o",
        tmp_path / "a",
    ]
    done = run("g++", "-std=c++17", ROOT / "examples" / "onnx_cpp.cpp", *linked)
    assert done.returncode == 0, done.stderr
    pixels = write_image(tmp_path / "image.pgm")
    answers = tmp_path / "mask.pgm", tmp_path / "probabilities.f32"
    done = run(tmp_path / "a", onnx_file, tmp_path / "image.pgm", *answers)
    assert done.returncode == 0, done.stderr
    prediction = unetkit.load(checkpoint)(pixels)
    probabilities = np.fromfile(answers[1], np.float32).reshape(pixels.shape)
    np.testing.assert_allclose(probabilities, prediction.probability, atol=1e-4)
    np.testing.assert_array_equal(cv2.imread(str(answers[0]), cv2.IMREAD_UNCHANGED), prediction.mask * 255)
    done = run(tmp_path / "a", strict_file(checkpoint, tmp_path), tmp_path / "image.pgm", *answers)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(cv2.imread(str(answers[0]), cv2.IMREAD_UNCHANGED), 0 * pixels)
    cv2.imwrite(str(tmp_path / "deep.pgm"), pixels.astype(np.uint16) * 257)
    done = run(tmp_path / "a", onnx_file, tmp_path / "deep.pgm", *answers)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path / 'deep.pgm'} has 16 bits, but the network takes 8\n"


def strict_file(checkpoint: Path, folder: Path) -> Path:
    """Export the checkpoint's network so that its masks are full, but smaller than the least area."""
    predictor = unetkit.load(checkpoint)
    predictor.threshold, predictor.min_area = 0.0, 10_000
    export(predictor, folder / "strict.onnx")
    return folder / "strict.onnx"


def assert_agrees(file: Path, predictor: Predictor) -> None:
    session = onnxruntime.InferenceSession(file)
    dtype = np.uint8 if predictor.preprocessing.value_range is None else np.float32
    for height, width in ((1, 1), (5, 7), (33, 200)):
        image = np.random.default_rng(0).uniform(0, 255, (height, width, predictor.preprocessing.channels))
        image = image.astype(dtype)
        probability = session.run(None, {"images": image.transpose(2, 0, 1)[None]})[0][0]
        wanted = predictor(image).probability
        np.testing.assert_allclose(probability, wanted if wanted.ndim == 3 else wanted[None], atol=1e-4)


def write_image(path: Path) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(3).integers(0, 256, (45, 62), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return pixels


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("preprocessing", [PLAIN, WIDE], ids=["8-bit", "float"])
def test_the_folds_of_a_cross_validation_become_one_file(
    preprocessing: Preprocessing, tmp_path: Path, unetkit: Unetkit
) -> None:
    """Run in ONNX Runtime, the file gives the mean of the folds' probabilities."""
    model: dict[str, object] = {
        "_target_": "unetkit.models.UNet",
        "channels": [2, 4],
        "in_channels": 1,
        "num_classes": 1,
    }
    files = [tmp_path / "cv" / "ensemble" / f"fold-{fold}.ckpt" for fold in range(3)]
    for fold, file in enumerate(files):
        torch.manual_seed(fold)
        own = replace(preprocessing, mean=(0.3 + 0.1 * fold,))
        file.parent.mkdir(parents=True, exist_ok=True)
        save_weights(file, Metadata(model, own, 0.4 + 0.1 * fold), settled(UNet(1, 1, [2, 4])).state_dict())
    done = unetkit("export", f"checkpoint={tmp_path / 'cv'}", f"output={tmp_path / 'cv.onnx'}")
    assert done.status == 0, done.stderr
    assert "the mean of 3 networks" in done.stdout
    pixels = np.random.default_rng(0).integers(0, 256, (41, 58)).astype(np.uint8)
    image: NDArray[Any] = pixels if preprocessing is PLAIN else pixels.astype(np.float32) * 10 + 0.3
    session = onnxruntime.InferenceSession(tmp_path / "cv.onnx")
    (probability,) = session.run(None, {"images": image[None, None]})
    ensemble = load_ensemble(files)
    np.testing.assert_allclose(probability[0, 0], ensemble(image).probability, atol=1e-5)
    kept = session.get_modelmeta().custom_metadata_map
    assert float(json.loads(kept["threshold"])) == pytest.approx(ensemble.threshold)


def test_networks_of_different_images_are_not_joined(tmp_path: Path) -> None:
    members = [Predictor(DumbNet(1, 1, 2), PLAIN), Predictor(DumbNet(1, 1, 2), WIDE)]
    with pytest.raises(UserError, match="take images of different channels, depths or sizes"):
        export(Ensemble(members), tmp_path / "a.onnx")
