"""Fuse BatchNorm into the convolution before it, which makes prediction faster."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fuse_conv_bn(network: nn.Module) -> nn.Module:
    """Fuse each BatchNorm2d that follows a Conv2d in an `nn.Sequential` into that convolution.

    The network is changed in place, put into evaluation mode and returned; it can't be trained afterwards. Outputs
    differ by rounding errors only. Other norms stay.
    """
    network.eval()
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for i, (first, second) in enumerate(pairwise(list(sequence))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and second.running_mean is not None:
                sequence[i], sequence[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network
