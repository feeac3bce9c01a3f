"""Check, before a run in bfloat16 on a CPU, that the processor computes the gradients of each layer rightly."""

import logging

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from unetkit.models import predict_full_frame
from unetkit.training.configuration import choose_precision, is_on_cpu

log = logging.getLogger(__name__)

TOLERANCE = 0.05  # relative error (norm of the difference over the norm); rounding to bfloat16 alone gives 0.003
LARGEST = {4: 48, 5: 16}  # pixels a side of the features that a layer is tried on, by their number of axes
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d)


def avoid_wrong_gradients(cfg: DictConfig, network: nn.Module, images: Tensor) -> None:
    """Check the network where it is to train in bfloat16 on a CPU; fall back to what is right, with a log line.

    Where gradients in channels_last are wrong, `cfg.channels_last` becomes false and the network is laid out anew;
    where those are wrong too, `cfg.trainer.precision` becomes 32.

    Args:
        cfg: The whole configuration.
        network: The network, in the memory order that the configuration asks for.
        images: A batch (B, C, H, W), or of volumes, as large as those to train on, normalised.
    """
    is_bfloat16 = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator) == "bf16-mixed"
    if not (is_bfloat16 and is_on_cpu(cfg.trainer.accelerator)):
        return
    wrong = wrong_layers(network, images, torch.channels_last if cfg.channels_last else torch.contiguous_format)
    if not wrong:
        return
    if cfg.channels_last and not wrong_layers(network, images, torch.contiguous_format):
        cfg.channels_last = False
        network.to(memory_format=torch.contiguous_format)
        used = "channels_last=false is used, which is slower"
    else:
        cfg.trainer.precision = 32
        used = "trainer.precision=32 is used, which is slower"
    log.warning("this processor computes wrong bfloat16 gradients of %s: %s", ", ".join(wrong), used)


def wrong_layers(network: nn.Module, images: Tensor, memory_format: torch.memory_format) -> list[str]:
    """Find the layers whose bfloat16 gradients differ from those in float32 by more than rounding.

    Each kind of layer (type, channels, kernel, dilation, size of the features) is tried once, alone, with random
    numbers of the shape that it meets in the network. torch 2.14 with oneDNN, for example, leaves part of the weight
    gradient of dilated convolutions unset on processors with AVX-512 BF16, in channels_last, where the input channels
    are more than 16 and no multiple of 16.

    Args:
        network: A network that takes `images`; its parameters, buffers and mode stay as they are.
        images: A batch (B, C, H, W) float32 on the CPU, as large as those to train on.
        memory_format: The order of memory to try: `torch.channels_last` or `torch.contiguous_format`.

    Returns:
        A description of each wrong layer, such as `Conv2d(36, 36, kernel_size=(3, 3), ...)`; empty if all are right.
    """
    tried: set[str] = set()
    wrong = []
    for layer, shape in _layers_with_shapes(network, images):
        kind = f"{layer} {shape}"
        if kind not in tried:
            tried.add(kind)
            if not _is_right(layer, shape, memory_format):
                wrong.append(f"{layer} at {'x'.join(map(str, shape[2:]))} px")
    return wrong


def _layers_with_shapes(network: nn.Module, images: Tensor) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Return the convolutions of a network, each with the shape of its input, whose sides are cut to `LARGEST`."""
    met: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        batch, channels, *sides = inputs[0].shape
        met.append((layer, (batch, channels, *(min(side, LARGEST[inputs[0].ndim]) for side in sides))))

    hooks = [layer.register_forward_pre_hook(note) for layer in network.modules() if isinstance(layer, CONVOLUTIONS)]
    was_training = network.training
    try:
        with torch.no_grad():
            predict_full_frame(network.eval(), images)  # in eval mode no statistics of a norm change
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return met


def _is_right(layer: nn.Module, shape: tuple[int, ...], memory_format: torch.memory_format) -> bool:
    """Compare the gradients of a layer's weight and input in bfloat16 with those in float32."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    exact = _gradients(layer, x, torch.contiguous_format, is_exact=True)
    rounded = _gradients(layer, x, memory_format, is_exact=False)
    return all(
        bool((ours - truth).norm() <= TOLERANCE * truth.norm()) for ours, truth in zip(rounded, exact, strict=True)
    )


def _gradients(
    layer: nn.Module, x: Tensor, memory_format: torch.memory_format, *, is_exact: bool
) -> tuple[Tensor, ...]:
    """Return the gradients (float32) of a layer's weight and input, for a fixed random gradient of its output."""
    if memory_format == torch.channels_last and x.ndim == 5:
        memory_format = torch.channels_last_3d
    weight = dict(layer.named_parameters())["weight"].detach().clone()
    weight = weight.contiguous(memory_format=memory_format).requires_grad_()
    x = x.clone().contiguous(memory_format=memory_format).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=not is_exact):
        y = torch.func.functional_call(layer, {"weight": weight}, x)
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    gradients = torch.autograd.grad(y, (weight, x), slope.contiguous(memory_format=memory_format))
    return tuple(gradient.float() for gradient in gradients)
