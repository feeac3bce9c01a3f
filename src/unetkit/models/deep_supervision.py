"""Deep supervision: auxiliary losses on the decoder levels of a network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models.layers import Layers, he_initialisation
from unetkit.models.padding import centre_crop


class SideHeads(nn.Module):
    """A 1x1 convolution to logits on each decoder level but the last, used in training only.

    Deeply-supervised nets (Lee et al. 2015, arXiv 1409.5185); on upsampled logits, 3D DSN (Dou et al. 2016,
    arXiv 1607.00582). The heads are a module beside the network, so they are not in its `state_dict`.

    Args:
        network: A network with these attributes: `decoder`, a ModuleList, deepest level first, each level twice the
            size of the one before; `decoder_channels`, the features of the levels' outputs, shallowest first; and, if
            the last level is smaller than the logits, `decoder_stride`, the factor between the two.
        num_classes: Channels of the network's logits.

    Raises:
        UserError: If the network has no such decoder of two or more levels.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        widths = getattr(network, "decoder_channels", None) or []
        if len(widths) < 2:
            raise UserError(
                "deep_supervision",
                f"needs a network with two or more decoder levels, which {type(network).__name__}, as configured, "
                "does not have",
                "set deep_supervision=0, or take such a network, as model=unet_small",
            )
        layers = Layers(getattr(network, "spatial_dims", 2))
        self.mode = layers.linear
        self.stride = int(getattr(network, "decoder_stride", 1))
        self.heads = nn.ModuleList(layers.conv(width, num_classes, kernel=1) for width in widths[:0:-1])
        self.apply(he_initialisation)

    @contextmanager
    def watch(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """Collect the outputs of the network's decoder levels but the last, deepest first, inside the `with` block."""
        seen: list[Tensor] = []
        decoder = network.get_submodule("decoder")
        assert isinstance(decoder, nn.ModuleList)  # narrows the type for mypy
        hooks = [level.register_forward_hook(lambda _, __, output: seen.append(output)) for level in decoder[:-1]]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, features: list[Tensor], logits: Tensor) -> list[Tensor]:
        """Compute the logits of each level.

        Args:
            features: Outputs of the decoder levels (B, decoder_channels[level], h, w), deepest first.
            logits: Logits of the network (B, num_classes, H, W).

        Returns:
            Logits (B, num_classes, H, W) of each level, aligned with the network's pixels.
        """
        sides = []
        for index, (head, x) in enumerate(zip(self.heads, features, strict=True)):
            scale = self.stride * 2 ** (len(self.heads) - index)
            side = F.interpolate(head(x), scale_factor=scale, mode=self.mode, align_corners=False)
            sides.append(centre_crop(side, *logits.shape[2:]))
        return sides
