"""The architectures of segmentation_models.pytorch (SMP, extra `zoo`), at any size, with our gradient checkpointing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from unetkit.errors import UserError
from unetkit.models.arguments import check, check_choice, is_positive
from unetkit.models.checkpointing import checkpointed_levels, recompute_in_place
from unetkit.models.padding import mirror_pad

log = logging.getLogger(__name__)

ARCHITECTURES = ("DeepLabV3", "DeepLabV3Plus", "FPN", "PAN", "PSPNet", "Segformer", "Unet", "UnetPlusPlus")
# The paper's PSPNet sees 1/8 of the size after all five stages; SMP's default is three, the others lie there unused.
OPTIONS: dict[str, dict[str, int]] = {"PSPNet": {"encoder_depth": 5, "output_stride": 8}}
LEAST_FEATURES = {"PAN": 8}  # side of the deepest feature map, which its pyramid halves three times

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class SMPNetwork(nn.Module):
    """A network of SMP, behind the interface of ours: (B, in_channels, H, W) to logits (B, num_classes, H, W).

    Images of any size are mirrored up to what encoder and decoder need, and logits cropped back. Differences from
    the bare model, which leave `state_dict` as it is: BatchNorm after global pooling works with a single image, and
    PSPNet's pyramid can be exported at any size.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 means binary, through a sigmoid.
        architecture: An SMP class, one of `ARCHITECTURES`.
        encoder: An encoder of SMP, or of timm as `tu-NAME`. SMP's `mit_b0` to `mit_b5` are under NVIDIA's
            non-commercial licence.
        encoder_weights: None for random weights, or a pretraining that SMP offers for the encoder, as `imagenet`;
            downloaded once. `statistics` are then those that the images must be normalised with.
        gradient_checkpointing: `none`, `all`, or a number N: the blocks of encoder and decoder with the N largest
            sizes of output compute their activations again in the backward pass. Single layers between blocks keep
            theirs. Loss, gradients, buffers and `state_dict` keys stay the same.

    Attributes:
        statistics: Mean and standard deviation of each channel, on [0, 1], of the images that the encoder was
            trained on; None where its weights are random.

    Raises:
        UserError: If the extra is not installed, an argument is outside the above, the two don't go together, or
            the weights can't be downloaded.
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
        check("in_channels", in_channels, is_positive(in_channels), "a positive integer")
        check("num_classes", num_classes, is_positive(num_classes), "a positive integer")
        check_choice("architecture", architecture, ARCHITECTURES)
        # timm takes hf-hub:NAME and local-dir:PATH too, by which a stranger's checkpoint could download and read.
        is_name = isinstance(encoder, str) and ":" not in encoder
        check("encoder", encoder, is_name, "the name of an encoder, such as resnet18 or tu-convnext_tiny")
        self.statistics: Statistics | None = None
        if encoder_weights is not None:
            self.statistics = encoder_statistics(encoder, encoder_weights, in_channels)
        self.model = _build(architecture, encoder, encoder_weights, in_channels, num_classes)
        self.stride = int(self.model.encoder.output_stride)
        self.num_downsamplings = self.stride.bit_length() - 1
        self.least_features = LEAST_FEATURES.get(architecture, 2)
        _allow_single_images(self.model.decoder)
        if architecture == "PSPNet":
            psp = self.model.decoder.psp
            psp.blocks = nn.ModuleList(PyramidLevel(block.pool, block.pool_size) for block in psp.blocks)
        side = self.least_features * self.stride
        with _mistakes_of(f"model.architecture={architecture} model.encoder={encoder}"):  # which may want a fixed size
            levels = blocks_by_size(self.model, torch.zeros(1, in_channels, side, side))
        for level in levels[: checkpointed_levels(gradient_checkpointing, len(levels))]:
            for block in level:
                recompute_in_place(block)
        if encoder.startswith("mit_"):
            log.info("model.encoder=%s: its code and weights are under NVIDIA's non-commercial licence", encoder)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        rows, columns = self._missing(height), self._missing(width)
        logits: Tensor = self.model(mirror_pad(x, rows, columns))
        return logits[..., rows[0] : rows[0] + height, columns[0] : columns[0] + width]

    def _missing(self, size: int) -> tuple[int, int]:
        """Pixels to add (before, after) an axis, so that it is a multiple of the encoder's stride, and long enough.

        The sum is written as a multiple, which the exporter can halve again and again in little time, and only
        positive numbers are divided, as ONNX rounds towards zero.
        """
        multiples = max((size + self.stride - 1) // self.stride, self.least_features)
        before = self.stride // 2 * multiples - (size + 1) // 2
        return before, self.stride * multiples - size - before


class PyramidLevel(nn.Module):
    """A level of PSPNet's pyramid (Zhao et al. 2017, arXiv 1612.01105): average in bins, 1x1 convolution, enlarge.

    As SMP's, but for ONNX, which has no adaptive pooling of a size unknown at export.

    Args:
        pool: SMP's adaptive pooling, and its convolution.
        bins: Of each axis.
    """

    def __init__(self, pool: nn.Sequential, bins: int) -> None:
        super().__init__()
        self.pool = pool
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C / 4, H, W)."""
        if torch.onnx.is_in_onnx_export():
            rows, columns = (averaging(side, self.bins, x.device) for side in x.shape[-2:])
            pooled = self.pool[1](rows @ x @ columns.T)
        else:
            pooled = self.pool(x)
        return F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=True)


class SingleImageBatchNorm(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a channel has a single value, whose variance is unknown.

    So it is after global pooling of one image: the last of an epoch, or each with `data.batch_size=1`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def encoder_statistics(encoder: str, weights: str, in_channels: int) -> Statistics:
    """Mean and standard deviation of each channel, on [0, 1], that a pretrained encoder expects.

    For other than three channels, SMP sums or repeats the first kernels' weights; each channel then gets the mean of
    the three means, and of the three deviations.

    Raises:
        UserError: If there is no such pretraining, or it can't be downloaded.
    """
    if encoder.startswith("tu-"):
        check("encoder_weights", weights, weights == "imagenet", "null or imagenet for an encoder of timm")
    with _mistakes_of(f"model.encoder={encoder} model.encoder_weights={weights}"):
        expected = _library().encoders.get_preprocessing_params(encoder, weights)
    top = expected["input_range"][-1]  # 1, or 255 where the encoder was trained on such values
    mean, std = ([value / top for value in expected[key]] for key in ("mean", "std"))
    if in_channels != 3:
        mean, std = ([sum(values) / 3] * in_channels for values in (mean, std))
    return tuple(mean), tuple(std)


def averaging(side: int, bins: int, device: torch.device) -> Tensor:
    """The matrix (bins, side) by which adaptive average pooling averages an axis."""
    index = torch.arange(bins, device=device)[:, None]
    start, end = index * side // bins, ((index + 1) * side + bins - 1) // bins
    pixel = torch.arange(side, device=device)
    return ((pixel >= start) & (pixel < end)) / (end - start)


def blocks_by_size(model: nn.Module, x: Tensor) -> list[list[nn.Module]]:
    """The outermost blocks that an SMP model calls in its encoder and decoder, largest size of output first.

    Found in a forward pass of x. A block whose input is written over, which a second run would need, is left out.
    """
    sides: dict[nn.Module, int] = {}
    inputs: dict[nn.Module, list[tuple[Tensor, int]]] = {}

    def before(block: nn.Module, args: Any, named: Any) -> None:
        tensors = [t for t in tree_leaves((args, named)) if isinstance(t, Tensor)]
        inputs[block] = [(t, t._version) for t in tensors]  # a tensor counts how often it is written over

    def after(block: nn.Module, args: Any, output: Any) -> None:
        sides[block] = max(t.shape[-2] for t in tree_leaves(output))

    parts = [getattr(model.encoder, "model", model.encoder), model.decoder]  # timm's encoders are wrapped once more
    blocks = [block for part in parts for block in part.modules() if block not in parts]  # type: ignore[union-attr]
    hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
    hooks += [block.register_forward_hook(after) for block in blocks]
    training = model.training
    with torch.no_grad():
        model.eval()(x)
    model.train(training)
    for hook in hooks:
        hook.remove()
    outermost = [block for part in parts for block in _outermost(part, sides)]  # type: ignore[arg-type]
    safe = [block for block in outermost if all(t._version == version for t, version in inputs[block])]
    return [[b for b in safe if sides[b] == side] for side in sorted({sides[b] for b in safe}, reverse=True)]


def _outermost(part: nn.Module, called: dict[nn.Module, int]) -> Iterator[nn.Module]:
    for child in part.children():
        if child not in called:
            yield from _outermost(child, called)
        elif next(child.children(), None) is not None:
            yield child


def _allow_single_images(decoder: nn.Module) -> None:
    for parent in list(decoder.modules()):
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                setattr(parent, name, SingleImageBatchNorm(norm.num_features, norm.eps, norm.momentum))


def _build(architecture: str, encoder: str, weights: str | None, in_channels: int, num_classes: int) -> Any:
    kind = getattr(_library(), architecture)
    pretrained: str | bool | None = weights if weights is None or not encoder.startswith("tu-") else True
    with _mistakes_of(f"model.architecture={architecture} model.encoder={encoder} model.encoder_weights={weights}"):
        options = OPTIONS.get(architecture, {})
        return kind(encoder, encoder_weights=pretrained, in_channels=in_channels, classes=num_classes, **options)


def _library() -> Any:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise UserError(
            'this network is of segmentation_models.pytorch; install it with: pip install -e ".[zoo]"'
        ) from error
    return segmentation_models_pytorch


@contextmanager
def _mistakes_of(asked: str) -> Iterator[None]:
    """Turn what SMP, timm and the Hugging Face hub raise for names they don't know, or offline, into one line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{asked}: the weights can't be downloaded from huggingface.co and are not in its cache; connect to the "
            "network, or set model.encoder_weights=null"
        ) from error
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{asked}: {error.args[0] if error.args else type(error).__name__}") from error
