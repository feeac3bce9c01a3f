"""Files of lower precision: they predict nearly as PyTorch does on images, or are not kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import Unetkit
from numpy.typing import NDArray
from torch import Tensor, nn

import unetkit as package
from unetkit.checkpoints.checkpoint import save_weights
from unetkit.checkpoints.compared import agreement
from unetkit.checkpoints.formats import quantise, quiet, read_onnx
from unetkit.checkpoints.loading import load_ensemble
from unetkit.checkpoints.metadata import Metadata
from unetkit.data import Preprocessing
from unetkit.data.synthetic import section
from unetkit.models import UNet
from unetkit.prediction.predictor import Predictor

PLAIN = Preprocessing(1, None, (0.4,), (0.2,))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of synthetic sections."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), section(48, index, salt=True)[0])
    return folder


def trained(path: Path, seed: int = 0, classes: int = 1, preprocessing: Preprocessing = PLAIN, **data: Any) -> Path:
    """A checkpoint of a tiny network whose masks have foreground and background."""
    model = {"_target_": "unetkit.models.UNet", "in_channels": 1, "num_classes": classes, "channels": [8, 8]}
    torch.manual_seed(seed)
    network = UNet(1, classes, [8, 8])
    x = torch.from_numpy(np.stack([section(48, index, salt=True)[0] for index in range(6)]))[:, None]
    with torch.no_grad():
        for _ in range(20):
            network.train()(preprocessing.normalise(x))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, Metadata(model, preprocessing, 0.5, data), network.state_dict())
    return path


def iou(mask: NDArray[Any], other: NDArray[Any]) -> float:
    return float((mask & other).sum() / max((mask | other).sum(), 1))


def facts_of(file: Path) -> dict[str, Any]:
    kept = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in kept.items() if not key.startswith("onnx.")}


def assert_predicts(file: Path, checkpoint: Path, images: Path, least: float) -> None:
    """The file's masks are those of the checkpoint, nearly."""
    session, predictor = onnxruntime.InferenceSession(file), package.load(checkpoint)
    scores = []
    for path in sorted(images.iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        found = session.run(None, {"images": image[None, None]})[0][0, 0]
        assert found.dtype == np.float32
        wanted = predictor(image).mask > 0
        assert 0.02 < wanted.mean() < 0.98
        scores.append(iou(found > facts_of(file)["threshold"], wanted))
    assert np.mean(scores) > least


def test_a_quantised_convolution_gives_nearly_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(2, 1, 3, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Cast", ["images"], ["x"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Conv", ["x", "w"], ["probabilities"]),
    ]
    given = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", 1, "h", "w"])
    answer = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["n", 2, None, None])
    graph = onnx.helper.make_graph(nodes, "one", [given], [answer], [onnx.numpy_helper.from_array(weights, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "a.onnx")
    exact = read_onnx(tmp_path / "a.onnx")
    images = generator.integers(0, 256, (4, 20, 30, 1), np.uint8)
    with quiet():
        quantise(tmp_path / "a.onnx", list(images))
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    x = np.moveaxis(images, -1, 1)
    wanted, found = exact(x), read_onnx(tmp_path / "a.onnx")(x)
    assert 0 < np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("is_multilabel", [False, True])
def test_masks_are_compared_image_by_image(is_multilabel: bool) -> None:
    """Of four columns the file predicts half of the second image's two, and all of the first's none."""

    class Columns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0).float() * 20 - 10

    predictor = Predictor(Columns(), Preprocessing(1), is_multilabel=is_multilabel)
    images = np.zeros((2, 4, 4, 1), np.uint8)
    images[1, :, :2] = 255
    found = agreement(predictor, lambda x: (x > 0) * (np.arange(4) > 0) * np.float32(1), list(images))
    assert found == (0.75, 0.5, 2)


@pytest.mark.slow
def test_an_int8_file_is_self_contained_compared_and_only_kept_if_it_agrees(
    images: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    checkpoint = trained(tmp_path / "a.ckpt", class_names=["rest", "salt"])
    typed = (f"checkpoint={checkpoint}", f"output={tmp_path / 'new' / 'a.onnx'}", f"images={images}", "precision=int8")
    done = unetkit("export", *typed, "min_iou=0.6")
    assert done.status == 0, done.stderr
    compared, wrote = done.stdout.splitlines()
    assert compared == f"compared with the masks of PyTorch on 3 images of {images}"
    file = tmp_path / "new" / "a.onnx"
    assert f"wrote {file} (" in wrote
    assert "mask IoU 0." in wrote
    assert [path.name for path in file.parent.iterdir()] == ["a.onnx"]
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("QuantizeLinear") > 4
    assert_predicts(file, checkpoint, images, 0.6)
    facts = facts_of(file)
    assert (facts["precision"], facts["class_names"], facts["channels"]) == ("int8", ["rest", "salt"], 1)
    before = file.read_bytes()
    done = unetkit("export", *typed, "min_iou=1")
    assert done.status == 1
    start = f"error: output={file} would have a mean mask IoU of 0."
    fix = "give another precision, more images, or a lower min_iou"
    end = f" on 3 images, less than min_iou=1, so it was not written; {fix}\n"
    assert done.stderr.startswith(start)
    assert done.stderr.endswith(end)
    assert [path.name for path in file.parent.iterdir()] == ["a.onnx"]
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["precision=bf16"], "precision=bf16 must be one of fp32, fp16, int8"),
        (
            ["precision=int8"],
            "images= is missing: precision=int8 is compared with PyTorch on images; give images=FOLDER",
        ),
        (["format=openvino"], "images= is missing: format=openvino is compared with PyTorch on images"),
        (["images=x"], "images=x is for precision=fp16, precision=int8 and format=openvino"),
        (["format=torch", "precision=fp16", "images=x"], "precision=fp16 is for format=onnx and format=openvino"),
        (
            ["format=checkpoint", "precision=fp16"],
            "precision=fp16 is for format=onnx and format=openvino; use half=true",
        ),
        (["precision=int8", "images=x", "min_iou=2"], "min_iou=2 must be a number from 0 to 1"),
        (["precision=int8", "images=none"], "images=none does not exist"),
        (["format=openvino", "output=a.onnx", "images=x"], "output=a.onnx must end in .xml for format=openvino"),
    ],
)
def test_mistakes_are_named_in_one_line(
    typed: list[str], said: str, checkpoint: Path, unetkit: Unetkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    done = unetkit("export", f"checkpoint={checkpoint}", *typed)
    assert done.status == 1
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in checkpoint.parent.iterdir()] == ["net.ckpt"]


@pytest.mark.slow
def test_an_fp16_file_is_half_as_large_and_agrees(images: Path, tmp_path: Path, unetkit: Unetkit) -> None:
    checkpoint = trained(tmp_path / "a.ckpt")
    file = tmp_path / "a.onnx"
    done = unetkit("export", f"checkpoint={checkpoint}", f"output={file}", f"images={images}", "precision=fp16")
    assert done.status == 0, done.stderr
    weights = [x for x in onnx.load(file).graph.initializer if len(x.dims) == 4]
    assert len(weights) > 4
    assert {x.data_type for x in weights} == {onnx.TensorProto.FLOAT16}
    assert_predicts(file, checkpoint, images, 0.98)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_folds_of_a_cross_validation_become_one_file_of_openvino(
    precision: str, images: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    openvino = pytest.importorskip("openvino")
    files = [trained(tmp_path / "cv" / "ensemble" / f"fold-{fold}.ckpt", fold) for fold in range(2)]
    typed = (f"checkpoint={tmp_path / 'cv'}", "format=openvino", f"precision={precision}", f"images={images}")
    done = unetkit("export", *typed, f"output={tmp_path / 'out' / 'cv.xml'}", "min_iou=0.6")
    assert done.status == 0, done.stderr
    assert "the mean of 2 networks" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cv.bin", "cv.xml"]
    core = openvino.Core()
    model = core.read_model(tmp_path / "out" / "cv.xml")
    assert json.loads(model.get_rt_info(["unetkit", "precision"]).astype(str)) == precision
    assert json.loads(model.get_rt_info(["unetkit", "threshold"]).astype(str)) == 0.5
    run, ensemble = core.compile_model(model, "CPU"), load_ensemble(files)
    image = section(48, 2, salt=True)[0]
    found = run(image[None, None])[0][0, 0] > 0.5
    assert iou(found, ensemble(image).mask > 0) > (0.6 if precision == "int8" else 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels", "float and resized"])
def test_networks_of_other_kinds_are_compared_as_well(
    kind: str, images: Path, tmp_path: Path, unetkit: Unetkit
) -> None:
    places = images
    given: dict[str, Any] = {"labels": {"classes": 3, "mask_keys": {"labels": "multilabel"}}}
    if kind == "float and resized":
        places = tmp_path / "floats"
        places.mkdir()
        for index in range(4):
            np.save(places / f"{index}.npy", section(48, index, salt=True)[0].astype(np.float32) * 9 - 500)
        given[kind] = {"preprocessing": replace(PLAIN, value_range=(-400.0, 1700.0), resize=0.5)}
    checkpoint = trained(tmp_path / "a.ckpt", 0, **given[kind])
    done = unetkit("export", f"checkpoint={checkpoint}", f"output={tmp_path / 'a.onnx'}", f"images={places}",
                   "precision=fp16", "min_iou=0.9")  # fmt: skip
    assert done.status == 0, done.stderr
    assert "mask IoU" in done.stdout


def test_an_image_that_openvino_can_not_run_on_is_one_line(tmp_path: Path, unetkit: Unetkit) -> None:
    pytest.importorskip("openvino")
    checkpoint = trained(tmp_path / "a.ckpt")
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1), np.uint8))
    file, image = tmp_path / "model.xml", tmp_path / "dot.png"
    done = unetkit("export", f"checkpoint={checkpoint}", "format=openvino", f"output={file}", f"images={image}")
    assert done.status == 1
    assert done.stderr.startswith("error: the exported file can't run on images of 1 x 1 pixels (")
    assert not file.exists()
