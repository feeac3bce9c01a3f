"""Architectures of segmentation_models.pytorch (SMP, extra `zoo`); conf/model names the paper of each."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unetkit.errors import UserError
from unetkit.models.arguments import check, check_choice, check_positive
from unetkit.models.checkpointing import checkpointed_levels
from unetkit.models.padding import mirror_pad
from unetkit.models.zoo_checkpointing import blocks_by_size, recompute_in_place
from unetkit.models.zoo_layers import PyramidLevel, allow_single_images

log = logging.getLogger(__name__)

ARCHITECTURES = ("DeepLabV3", "DeepLabV3Plus", "FPN", "PAN", "PSPNet", "Segformer", "Unet", "UnetPlusPlus")
# PSPNet as in the paper: stride 8 after all five stages. SMP's default uses three, and keeps the others unused.
OPTIONS: dict[str, dict[str, int]] = {"PSPNet": {"encoder_depth": 5, "output_stride": 8}}
LEAST_FEATURES = {"PAN": 8}  # least side of the deepest feature map: PAN's pyramid halves it three times

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class SMPNetwork(nn.Module):
    """A network of SMP: (B, in_channels, H, W) to logits (B, num_classes, H, W), for any size.

    Images are mirrored up to the size that encoder and decoder need, and logits cropped back. Two more differences
    from SMP, neither of which changes `state_dict`: BatchNorm after global pooling accepts a single image, and
    PSPNet's pyramid can be exported for any size.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        architecture: A class of SMP, one of `ARCHITECTURES`.
        encoder: An encoder of SMP, or of timm as `tu-NAME`. SMP's `mit_b0` to `mit_b5` have NVIDIA's
            non-commercial licence.
        encoder_weights: None for random weights, or pretrained weights that SMP offers for the encoder, as
            `imagenet`; downloaded once.
        gradient_checkpointing: `none`, `all`, or a number N: the blocks of encoder and decoder with the N largest
            output sizes recompute their activations in the backward pass. Single layers between blocks keep theirs.
            Loss, gradients, buffers and `state_dict` keys stay the same.

    Attributes:
        statistics: Mean and standard deviation of each channel, on [0, 1], with which images must be normalised for
            the pretrained encoder; None with random weights.

    Raises:
        UserError: If the extra is not installed, an argument is out of its range, architecture and encoder don't fit
            together, or the weights can't be downloaded.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 1,
        architecture: str = "Unet",
        encoder: str = "resnet18",
        *,
        encoder_weights: str | None = None,
        gradient_checkpointing: int | str = "none",
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes)
        check_choice("architecture", architecture, ARCHITECTURES)
        # timm accepts hf-hub:NAME and local-dir:PATH too, by which a checkpoint from elsewhere could download and read.
        is_name = isinstance(encoder, str) and ":" not in encoder
        check("encoder", encoder, is_name, "the name of an encoder, such as resnet18 or tu-convnext_tiny")
        self.statistics: Statistics | None = None
        if encoder_weights is not None:
            self.statistics = encoder_statistics(encoder, encoder_weights, in_channels)
        self.model = build_model(architecture, encoder, encoder_weights, in_channels, num_classes)
        self.stride = int(self.model.encoder.output_stride)
        self.num_downsamplings = self.stride.bit_length() - 1
        self.least_features = LEAST_FEATURES.get(architecture, 2)
        side = self.least_features * self.stride
        with library_errors(f"model.architecture={architecture} model.encoder={encoder}"):  # some need a fixed size
            levels = blocks_by_size(self.model, torch.zeros(1, in_channels, side, side))
        for level in levels[: checkpointed_levels(gradient_checkpointing, len(levels))]:
            for block in level:
                recompute_in_place(block)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        rows, columns = self._missing(height), self._missing(width)
        logits: Tensor = self.model(mirror_pad(x, rows, columns))
        return logits[..., rows[0] : rows[0] + height, columns[0] : columns[0] + width]

    def _missing(self, size: int) -> tuple[int, int]:
        """Return the pixels to add (before, after) an axis so that it is long enough and a multiple of the stride.

        The sum is written as a multiple, which makes export much faster, and no negative numbers are divided, since
        ONNX rounds towards zero.
        """
        multiples = max((size + self.stride - 1) // self.stride, self.least_features)
        before = self.stride // 2 * multiples - (size + 1) // 2
        return before, self.stride * multiples - size - before


def build_model(architecture: str, encoder: str, weights: str | None, in_channels: int, num_classes: int) -> Any:
    """Build an SMP model, with the layers of `zoo_layers` in it.

    Raises:
        UserError: If SMP rejects the arguments, or the weights can't be downloaded.
    """
    kind = getattr(import_smp(), architecture)
    pretrained: str | bool | None = weights if weights is None or not encoder.startswith("tu-") else True
    with library_errors(f"model.architecture={architecture} model.encoder={encoder} model.encoder_weights={weights}"):
        options = OPTIONS.get(architecture, {})
        model = kind(encoder, encoder_weights=pretrained, in_channels=in_channels, classes=num_classes, **options)
    allow_single_images(model.decoder)
    if architecture == "PSPNet":
        psp = model.decoder.psp
        psp.blocks = nn.ModuleList(PyramidLevel(block.pool, block.pool_size) for block in psp.blocks)
    if encoder.startswith("mit_"):
        log.info("model.encoder=%s: its code and weights have NVIDIA's non-commercial licence", encoder)
    return model


def encoder_statistics(encoder: str, weights: str, in_channels: int) -> Statistics:
    """Return mean and standard deviation of each channel, on [0, 1], that a pretrained encoder expects.

    With other than three channels, SMP sums or repeats the weights of the first convolution; each channel then gets
    the average of the three means, and of the three deviations.

    Raises:
        UserError: If there are no such weights, or their description can't be downloaded.
    """
    if encoder.startswith("tu-"):
        check("encoder_weights", weights, weights == "imagenet", "null or imagenet for an encoder of timm")
    with library_errors(f"model.encoder={encoder} model.encoder_weights={weights}"):
        expected = import_smp().encoders.get_preprocessing_params(encoder, weights)
    top = expected["input_range"][-1]  # 1, or 255 if the encoder was trained on such values
    mean, std = ([value / top for value in expected[key]] for key in ("mean", "std"))
    if in_channels != 3:
        mean, std = ([sum(values) / 3] * in_channels for values in (mean, std))
    return tuple(mean), tuple(std)


def import_smp() -> Any:
    """Import SMP, which takes seconds, when a network needs it.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise UserError(
            "segmentation_models_pytorch",
            "is not installed, but this network needs it",
            'run pip install "unetkit[zoo]"',
        ) from error
    return segmentation_models_pytorch


@contextmanager
def library_errors(subject: str) -> Iterator[None]:
    """Turn the errors of SMP, timm and the Hugging Face hub, for unknown names or offline, into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            subject,
            "can't be downloaded from huggingface.co and is not in its cache",
            "connect to the network, or set model.encoder_weights=null",
        ) from error
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error.args[0] if error.args else type(error).__name__).split())
        raise UserError(subject, f"can't be used: {reason}") from error
