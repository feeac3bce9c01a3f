"""Segmenter: the sizes of the authors' networks, the mask transformer, pretrained weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unetkit.errors import UserError
from unetkit.models import Segmenter
from unetkit.models.segmenter import MaskTransformer

TI = {"patch_size": 16, "width": 192, "depth": 12, "heads": 3}


def parameters(width: int, depth: int, heads: int, grid: int) -> int:
    with torch.device("meta"):
        network = Segmenter(3, 150, patch_size=16, width=width, depth=depth, heads=heads, grid=grid)
    return sum(p.numel() for p in network.parameters())


def test_sizes_are_those_of_the_authors_networks() -> None:
    """For the 150 classes of ADE20K at 512 pixels.

    Counted in the authors' code (github.com/rstrudel/segmenter), minus the unused classifier of 1000 classes of its
    encoder. Their README says 7M, 27M, 106M and 334M for Seg-T, S, B and L (the last at 640 pixels), for S and B up to
    3% more than the code has.
    """
    ti, s, b = 6_906_388 - 193_000, 26_418_964 - 385_000, 103_266_580 - 769_000
    assert parameters(width=192, depth=12, heads=3, grid=32) == ti
    assert parameters(width=384, depth=12, heads=6, grid=32) == s
    assert parameters(width=768, depth=12, heads=12, grid=32) == b
    large = parameters(width=1024, depth=24, heads=16, grid=40) + 1024 * 1000 + 1000
    for published, ours in ((7, ti + 193_000), (27, s + 385_000), (106, b + 769_000), (334, large)):
        assert ours / 1e6 == pytest.approx(published, rel=0.03)


def test_patches_and_classes_become_masks() -> None:
    """Figure 2: 101 pixels in patches of 8 are 13 x 13 tokens, and 170 with the class token."""
    network = Segmenter(1, 3, width=16, depth=1, heads=2, decoder_depth=1).eval()
    shapes = []
    for name in ("encoder.blocks.0", "decoder.blocks.0", "decoder"):
        network.get_submodule(name).register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    network(torch.randn(2, 1, 101, 101))
    assert shapes == [(2, 170, 16), (2, 169 + 3, 16), (2, 169, 3)]


def test_masks_are_cosines_normalised_over_classes() -> None:
    decoder = MaskTransformer(16, 1, 2, 5, dropout=0.0)
    cosines: list[torch.Tensor] = []
    decoder.mask_norm.register_forward_pre_hook(lambda _, inputs: cosines.append(inputs[0]))
    masks = decoder(torch.randn(2, 9, 16), 0)
    assert cosines[0].abs().max() <= 1 + 1e-6
    torch.testing.assert_close(masks.mean(-1), torch.zeros(2, 9), rtol=0, atol=1e-5)
    torch.testing.assert_close(masks.std(-1, correction=0), torch.ones(2, 9), rtol=0, atol=1e-2)


def test_permuted_class_embeddings_give_permuted_masks() -> None:
    decoder = MaskTransformer(16, 2, 2, 4, dropout=0.0)
    tokens, order = torch.randn(2, 9, 16), [2, 0, 3, 1]
    masks = decoder(tokens, 0)
    decoder.classes.data = decoder.classes.data[:, order]
    torch.testing.assert_close(decoder(tokens, 0), masks[..., order])


@pytest.mark.parametrize("classes", [1, 2])
def test_few_classes_have_graded_scores_of_unit_scale(classes: int) -> None:
    """A layer norm over one class would be constant, over two a step function."""
    torch.manual_seed(0)
    masks = MaskTransformer(64, 2, 4, classes, dropout=0.0)(torch.randn(4, 100, 64), 0)
    assert 0.1 < masks.std(1).mean() < 3
    assert masks.detach().unique().numel() > 300


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty cache of the Hugging Face hub, offline."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_pretrained_weights_are_those_of_timm(hub: Path) -> None:
    timm = pytest.importorskip("timm")
    name = "vit_tiny_patch16_384.augreg_in21k_ft_in1k"
    published = timm.create_model(name)
    folder = hub / f"models--timm--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(published.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    network = Segmenter(1, 2, **TI, grid=7, encoder_weights="imagenet")
    torch.testing.assert_close(network.encoder.blocks[5].mlp.fc1.weight, published.blocks[5].mlp.fc1.weight)
    grey = published.patch_embed.proj.weight.sum(1, keepdim=True)  # the same for equal colours
    torch.testing.assert_close(network.encoder.patch_embed.proj.weight, grey)
    assert network.encoder.pos_embed.shape == (1, 1 + 7 * 7, 192)
    assert network(torch.randn(1, 1, 101, 101)).shape == (1, 2, 101, 101)


def test_weights_that_cannot_be_downloaded_are_one_line(hub: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="encoder_weights=imagenet can't be downloaded as timm's vit_tiny") as caught:
        Segmenter(**TI, encoder_weights="imagenet")
    assert "\n" not in str(caught.value)
