"""Deep supervision: the loss of each level of a decoder besides that of the whole network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models.blocks import Layers, he_initialisation
from unetkit.models.padding import centre_crop


class SideHeads(nn.Module):
    """A 1x1 convolution to logits on each decoder level but the last, for training only.

    Deeply-supervised nets (Lee et al. 2015, arXiv 1409.5185); on upsampled logits, 3D DSN (Dou et al.
    2016, arXiv 1607.00582). The heads are no part of the network and do not hold it.

    Args:
        network: With `decoder`, a ModuleList, deepest level first, each twice the size of the one before,
            `decoder_channels`, the features that leave these levels, shallowest first, and, where the last level is
            smaller than the logits, `decoder_stride`, by how much.
        num_classes: Of the network's logits.

    Raises:
        UserError: If the network has no such decoder of two or more levels.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        widths = getattr(network, "decoder_channels", None) or []
        if len(widths) < 2:
            raise UserError(
                "deep_supervision takes a network with two or more decoder levels, such as model=unet_small, which "
                f"{type(network).__name__} as configured is not; set deep_supervision=0"
            )
        layers = Layers(getattr(network, "spatial_dims", 2))
        self.mode = layers.linear
        self.stride = int(getattr(network, "decoder_stride", 1))
        self.heads = nn.ModuleList(layers.conv(width, num_classes, kernel=1) for width in widths[:0:-1])
        self.apply(he_initialisation)

    @contextmanager
    def watch(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """Collect what leaves the network's decoder levels but the last, deepest first, while this is open."""
        seen: list[Tensor] = []
        decoder = network.get_submodule("decoder")
        assert isinstance(decoder, nn.ModuleList)  # as the class asks for
        hooks = [level.register_forward_hook(lambda _, __, output: seen.append(output)) for level in decoder[:-1]]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, features: list[Tensor], logits: Tensor) -> list[Tensor]:
        """Logits (B, num_classes, H, W) of each level, over the same pixels as the network's own."""
        sides = []
        for index, (head, x) in enumerate(zip(self.heads, features, strict=True)):
            scale = self.stride * 2 ** (len(self.heads) - index)
            side = F.interpolate(head(x), scale_factor=scale, mode=self.mode, align_corners=False)
            sides.append(centre_crop(side, *logits.shape[2:]))
        return sides
