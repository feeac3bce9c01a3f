from unetkit.models.dumbnet import DumbNet
from unetkit.models.memory import activation_bytes
from unetkit.models.outputs import classify, probabilities
from unetkit.models.padding import centre_crop, mirror_pad, predict_full_frame
from unetkit.models.unet import UNet

__all__ = [
    "DumbNet",
    "UNet",
    "activation_bytes",
    "centre_crop",
    "classify",
    "mirror_pad",
    "predict_full_frame",
    "probabilities",
]
