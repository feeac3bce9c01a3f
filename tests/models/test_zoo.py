"""Architectures of SMP, over small encoders; test_every_network.py has them as configured."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

import unetkit
from unetkit.errors import UserError
from unetkit.models import SMPNetwork, activation_bytes
from unetkit.models.zoo import encoder_statistics
from unetkit.models.zoo_layers import SingleImageBatchNorm
from unetkit.training.run import train

pytest.importorskip("segmentation_models_pytorch")

ROOT = Path(__file__).parents[2]
NAMES = ("pspnet", "deeplabv3", "deeplabv3plus", "pan", "segformer", "hrnet", "unetplusplus", "fpn", "smp_unet")
SMALL = {"segformer": "mit_b0", "hrnet": "tu-hrnet_w18_small"}
HEAVY = {"hrnet", "unetplusplus", "deeplabv3", "deeplabv3plus"}
SMALLEST = "tu-test_efficientnet"  # 82,300 parameters


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [*overrides, "run_dir=unused"])


def build(name: str, *overrides: str) -> nn.Module:
    """The named network over a small encoder."""
    small = f"model.encoder={SMALL.get(name, SMALLEST)}"
    network: nn.Module = instantiate(config(f"model={name}", small, *overrides).model)
    return network


@pytest.mark.parametrize("name", NAMES)
def test_colours_classes_and_bfloat16_have_gradients(name: str) -> None:
    network = build(name, "data.channels=3", "data.num_classes=3")
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(2, 3, 41, 53))
    assert logits.shape == (2, 3, 41, 53)
    logits.float().square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key  # no parameter is unused
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", NAMES)
def test_a_single_small_image_trains(name: str) -> None:
    network = build(name)
    logits = network(torch.randn(1, 1, 1, 5))
    assert logits.shape == (1, 1, 1, 5)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_channel_of_one_value_is_normalised_by_running_statistics() -> None:
    norm = SingleImageBatchNorm(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    x = torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([1.0, 1.0]), rtol=0, atol=1e-5)
    assert norm.running_mean.tolist() == [1, 2]
    norm(torch.cat([x, x + 2]))
    assert norm.running_mean.tolist() == pytest.approx([0.9 * 1 + 0.1 * 4, 0.9 * 2 + 0.1 * 6])


def test_padding_mirrors_and_crops_back() -> None:
    network = SMPNetwork(encoder=SMALLEST).eval()
    image = torch.randn(1, 1, 61, 94)  # 64 x 96: 1 before and 2 after, 1 before and 1 after
    padded = F.pad(image, (1, 1, 1, 2), mode="reflect")
    torch.testing.assert_close(network(image), network.model(padded)[..., 1:62, 1:95])


def one_step(network: nn.Module, *, autocast: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return loss, gradients and buffers after one step in training mode."""
    torch.manual_seed(3)
    x = torch.randn(2, 1, 30, 44)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = network(x).float().square().mean()
    loss.backward()
    return loss.detach(), [p.grad for p in network.parameters() if p.grad is not None], list(network.buffers())


@pytest.mark.parametrize(
    ("name", "checkpointing", "autocast"),
    [
        *(pytest.param(name, "all", False, marks=pytest.mark.slow if name in HEAVY else ()) for name in NAMES),
        ("smp_unet", 2, True),
        *(pytest.param(name, 2, True, marks=pytest.mark.slow) for name in ("segformer", "deeplabv3")),
    ],
)
def test_checkpointing_changes_memory_alone(name: str, checkpointing: int | str, autocast: bool) -> None:
    plain, frugal = build(name), build(name, f"model.gradient_checkpointing={checkpointing}")
    assert list(plain.state_dict()) == list(frugal.state_dict())
    frugal.load_state_dict(plain.state_dict())
    frugal = copy.deepcopy(frugal)  # as the moving average of weights does
    expected, actual = one_step(plain, autocast=autocast), one_step(frugal, autocast=autocast)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    x = torch.randn(2, 1, 64, 64)
    share = activation_bytes(frugal, x) / activation_bytes(plain, x)
    assert share < (0.6 if checkpointing == "all" else 0.95)


def test_recomputation_drops_the_same_paths() -> None:
    plain, frugal = build("segformer"), build("segformer", "model.gradient_checkpointing=all")
    frugal.load_state_dict(plain.state_dict())
    for module in (*plain.modules(), *frugal.modules()):
        if hasattr(module, "drop_prob"):  # a tenth at most, so that a seed might drop none
            module.drop_prob = 0.5  # type: ignore[assignment]
    torch.testing.assert_close(one_step(frugal, autocast=False), one_step(plain, autocast=False), rtol=0, atol=0)
    x = torch.randn(2, 1, 30, 44)
    assert not torch.equal(plain(x), plain(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_exported_networks_take_any_size(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = build(name).eval()
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network, (torch.randn(2, 1, 101, 98),), path, dynamo=True, external_data=False, dynamic_shapes=(dynamic,)
    )
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 1, 101, 101), (3, 1, 97, 131), (2, 1, 64, 20)):
        x = torch.randn(shape)
        (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        ours = network(x).detach()
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-5 * ours.abs().max().item())


def run(run_dir: Path, cache: Path, *overrides: str) -> dict[str, object]:
    fixed = ["data.count=8", "data.size=36", "data.batch_size=3", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    quiet = ["trainer.enable_progress_bar=false", f"data.cache_dir={cache}", f"run_dir={run_dir}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return train(compose("train", [*fixed, *quiet, *overrides]))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_grey_images_get_the_mean_of_the_colours_statistics() -> None:
    mean, std = encoder_statistics("tu-resnet18", "imagenet", in_channels=3)
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = encoder_statistics("tu-resnet18", "imagenet", in_channels=1)
    assert mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert std == pytest.approx([(0.229 + 0.224 + 0.225) / 3])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a cache of the Hugging Face hub that contains SMP's `mobilenet_v2`, as a download leaves it."""
    import segmentation_models_pytorch as smp
    from huggingface_hub import constants
    from safetensors.torch import save_file
    from segmentation_models_pytorch.encoders import encoders

    settings = encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    repository = "models--" + settings["repo_id"].replace("/", "--")
    folder = tmp_path / "hub" / repository / "snapshots" / settings["revision"]
    folder.mkdir(parents=True)
    torch.manual_seed(8)
    weights = smp.encoders.get_encoder("mobilenet_v2", weights=None).state_dict()
    save_file(weights, folder / "model.safetensors")
    card = {"input_range": [0, 255], "mean": [51, 102, 153], "std": [51, 51, 51]}
    (folder / "config.json").write_text(json.dumps(card))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_pretrained_weights_bring_their_normalisation_and_are_loaded_once(
    hub: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["model=smp_unet", "model.encoder=mobilenet_v2", "model.encoder_weights=imagenet", "optimizer.lr=0"]
    run(tmp_path / "a", cache, *options)
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    card, state = (torch.load(last, weights_only=True)[key] for key in ("unetkit", "state_dict"))
    assert card["preprocessing"]["mean"] == pytest.approx((0.4,))  # the mean of 51, 102 and 153 on [0, 255]
    assert card["preprocessing"]["std"] == pytest.approx((0.2,))
    torch.manual_seed(8)
    import segmentation_models_pytorch as smp

    kernels = smp.encoders.get_encoder("mobilenet_v2", weights=None).state_dict()["features.0.0.weight"]
    stored = state["network.model.encoder.features.0.0.weight"]
    torch.testing.assert_close(stored, kernels.sum(1, keepdim=True))  # grey: the three colours are the same

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    assert unetkit.load(last).preprocessing.mean == pytest.approx((0.4,))
    run(tmp_path / "b", cache, *options, f"checkpoint={last}", "trainer.max_epochs=2")
    resumed = torch.load(tmp_path / "b" / "checkpoints" / "last.ckpt", weights_only=True)
    assert resumed["unetkit"]["preprocessing"] == card["preprocessing"]


def test_weights_that_cannot_be_downloaded_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="encoder_weights=imagenet can't be downloaded") as caught:
        SMPNetwork(encoder="mobilenet_v2", encoder_weights="imagenet")
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)  # as where it is not installed
    with pytest.raises(UserError, match=r'pip install "unetkit\[zoo\]"'):
        SMPNetwork()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"in_channels": 0}, "in_channels=0"),
        ({"architecture": "Vnet"}, "architecture=Vnet must be one of DeepLabV3"),
        ({"encoder": "resnet19"}, "encoder=resnet19"),
        ({"encoder": "tu-resnet19"}, "tu-resnet19.*Unknown model"),
        ({"encoder": "tu-swinv2_tiny_window8_256"}, "doesn't match model"),
        ({"encoder": "mit_b0", "architecture": "UnetPlusPlus"}, "UnetPlusPlus.*mit_b0"),
        ({"encoder_weights": "kitchen"}, "encoder_weights=kitchen.*imagenet"),
        ({"encoder": "tu-resnet18", "encoder_weights": "ssl"}, "encoder_weights=ssl must be null or imagenet"),
        ({"gradient_checkpointing": 7}, "gradient_checkpointing=7.*from 0 to 6"),
        ({"gradient_checkpointing": "some"}, "gradient_checkpointing=some"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        SMPNetwork(**arguments)  # type: ignore[arg-type]
