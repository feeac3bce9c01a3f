"""Layers that replace some of SMP's: for batches of one image, and for export at any size. `state_dict` stays."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.models.pyramid import bin_means


class SingleImageBatchNorm(nn.BatchNorm2d):
    """BatchNorm that normalises a channel of one value, whose variance is unknown, by the running statistics.

    A channel has one value after global pooling of a single image: the last batch of an epoch, or each batch with
    `data.batch_size=1`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, H, W)."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def allow_single_images(decoder: nn.Module) -> None:
    """Replace each BatchNorm2d of a decoder by a `SingleImageBatchNorm`."""
    for parent in list(decoder.modules()):
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                setattr(parent, name, SingleImageBatchNorm(norm.num_features, norm.eps, norm.momentum))


class PyramidLevel(nn.Module):
    """A level of PSPNet's pyramid (Zhao et al. 2017, arXiv 1612.01105): mean in bins, 1x1 convolution, upsampling.

    The same as SMP's, but it can be exported to ONNX, which has no adaptive pooling for sizes unknown at export.

    Args:
        pool: SMP's adaptive pooling and its convolution.
        bins: Number of bins along each axis.
    """

    def __init__(self, pool: nn.Sequential, bins: int) -> None:
        super().__init__()
        self.pool = pool
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C / 4, H, W)."""
        pooled = self.pool[1](bin_means(x, self.bins)) if torch.onnx.is_in_onnx_export() else self.pool(x)
        return F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=True)
