"""A dilated convolution whose gradients are right in bfloat16 on a CPU, too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 16  # channels that oneDNN computes at once


class DilatedConv2d(nn.Conv2d):
    """`nn.Conv2d`, with channels of zeros added up to a multiple of 16 where it runs in bfloat16 on a CPU.

    With oneDNN (seen in torch 2.13 and 2.14 on processors with AVX-512 BF16, in channels_last), the weight gradient of
    a dilated convolution of more than 16 input channels holds whatever was in memory for the last `channels % 16` of
    them, from features 30 pixels wide on. Added zeros change no result, and no checkpoint.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        missing = -self.in_channels % BLOCK
        if missing and self.groups == 1 and _is_bfloat16_on_cpu(input):
            around = (0, 0, 0, 0, 0, missing)  # columns, rows, channels
            input, weight = F.pad(input, around), F.pad(weight, around)
        y: Tensor = super()._conv_forward(input, weight, bias)
        return y


def _is_bfloat16_on_cpu(x: Tensor) -> bool:
    """Return whether a convolution of `x` is computed in bfloat16 on a CPU."""
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16
