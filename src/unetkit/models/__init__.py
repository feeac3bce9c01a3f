"""Networks as plain `nn.Module`s: images (B, C, H, W) in, logits (B, num_classes, H, W) out, for any size.

To add a network: write its class in a file here, with its paper in the head and its arguments checked by
`arguments.py`; name it in `__all__` below; add a file to conf/model, with `_target_: unetkit.models.NAME` and, as the
others, its number of parameters in the first line. Then `train.py model=FILE` finds it, and so do
tests/models/test_every_network.py and tests/test_configs.py.
"""

from unetkit.models.dumbnet import DumbNet
from unetkit.models.fuse import fuse_conv_bn
from unetkit.models.layers import channels_last_of
from unetkit.models.outputs import check_threshold, classify, logits_of, probabilities
from unetkit.models.padding import centre_crop, mirror_pad, predict_full_frame
from unetkit.models.residual_unet import ResidualUNet
from unetkit.models.segmenter import Segmenter
from unetkit.models.summary import activation_bytes, layer_table
from unetkit.models.transunet import TransUNet
from unetkit.models.unet import UNet
from unetkit.models.utnet import UTNet
from unetkit.models.zoo import SMPNetwork

__all__ = [
    "DumbNet",
    "ResidualUNet",
    "SMPNetwork",
    "Segmenter",
    "TransUNet",
    "UNet",
    "UTNet",
    "activation_bytes",
    "centre_crop",
    "channels_last_of",
    "check_threshold",
    "classify",
    "fuse_conv_bn",
    "layer_table",
    "logits_of",
    "mirror_pad",
    "predict_full_frame",
    "probabilities",
]
