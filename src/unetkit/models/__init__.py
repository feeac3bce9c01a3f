from unetkit.models.dumbnet import DumbNet
from unetkit.models.folding import fuse_conv_bn
from unetkit.models.outputs import check_threshold, classify, probabilities
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
    "check_threshold",
    "classify",
    "fuse_conv_bn",
    "layer_table",
    "mirror_pad",
    "predict_full_frame",
    "probabilities",
]
