"""TransUNet: the size of the authors' network, the shapes of figure 1, the pretrained encoder."""

import pytest
import torch
from torch import nn

from unetkit.models import TransUNet
from unetkit.models.transunet import PAPER

PAPERS_DECODER = [512, 256, 128, 64, 16]


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def papers() -> TransUNet:
    """R50-ViT-B/16 for Synapse: 9 classes, 224 pixels."""
    with torch.device("meta"):
        return TransUNet(3, 9, **PAPER, grid=14, decoder_channels=PAPERS_DECODER)  # type: ignore[arg-type]


def test_the_size_is_that_of_the_authors_network(papers: TransUNet) -> None:
    """Counted in the authors' code (github.com/Beckschen/TransUNet): R50-ViT-B_16, 9 classes, 224 pixels."""
    assert size(papers.resnet) == 11_894_848
    encoder = papers.resnet, papers.embed, papers.blocks, papers.norm
    assert sum(map(size, encoder)) + papers.positions.numel() == 97_888_576
    assert size(papers.bridge) + size(papers.decoder) == 7_387_200
    assert size(papers) == 105_277_081


def test_maps_have_the_sizes_of_figure_1(papers: TransUNet) -> None:
    """For 224 pixels: skips at 1/2, 1/4, 1/8; 14 x 14 tokens; 512 features, then 256, 128, 64, 16."""
    shapes = []
    parts: list[nn.Module] = [papers.resnet.stem[1], *papers.resnet.stages, papers.blocks[-1]]
    parts += [papers.bridge, *papers.decoder]
    for part in parts:
        part.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    papers(torch.empty(1, 3, 224, 224, device="meta"))
    assert shapes == [
        (64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (196, 768),
        (512, 14, 14), (256, 28, 28), (128, 56, 56), (64, 112, 112), (16, 224, 224),
    ]  # fmt: skip


def test_the_resnet_is_that_of_timms_pretrained_hybrid(papers: TransUNet) -> None:
    """Each part has the shapes of timm's, so its weights can be loaded."""
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        hybrid = timm.create_model("vit_base_r50_s16_384", img_size=224, num_classes=0)
    pairs = {"resnet": "patch_embed.backbone", "embed": "patch_embed.proj", "blocks": "blocks", "norm": "norm"}
    for ours, theirs in pairs.items():
        a, b = (n.get_submodule(k).state_dict() for n, k in ((papers, ours), (hybrid, theirs)))
        assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    assert hybrid.pos_embed[:, 1:].shape == papers.positions.shape
