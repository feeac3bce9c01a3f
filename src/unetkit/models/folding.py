"""BatchNorm as part of the convolution before it, for prediction: the same function in fewer passes over memory."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fuse_conv_bn(network: nn.Module) -> nn.Module:
    """Fold each BatchNorm2d that follows a Conv2d in an `nn.Sequential` into it, in place; gives the network, in eval.

    Other norms stay as they are. What comes out differs by rounding alone; the network can't be trained any more.
    """
    network.eval()
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for i, (first, second) in enumerate(pairwise(list(sequence))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and second.running_mean is not None:
                sequence[i], sequence[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network
