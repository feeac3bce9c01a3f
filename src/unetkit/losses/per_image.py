"""The base of all losses: a value for each image, averaged over the images with a valid pixel."""

import torch
from torch import Tensor, nn

from unetkit.errors import check


class PerImageLoss(nn.Module):
    """The mean of a loss over the images of a batch; images without a valid pixel are ignored."""

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            logits: Logits (B, C, *) of any floating-point type.
            target: Class indices (B, *).
            valid: Booleans (B, *), false for pixels to ignore.
        """
        return mean_of_images(self.per_image(logits.float(), target, valid), valid)

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,) of float32 logits; finite for images without a valid pixel."""
        raise NotImplementedError


def mean_of_images(losses: Tensor, valid: Tensor) -> Tensor:
    """Average losses (B,) over the images with a pixel in `valid` (B, *); 0 if there is no such image."""
    counts = valid.flatten(1).any(1)
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def mean_of_pixels(values: Tensor, valid: Tensor) -> Tensor:
    """Average values (B, *) over the pixels in `valid` (B, *) of each image; returns (B,)."""
    return (values * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)


def foreground(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and one-hot truth (B, K, *) of the K classes without the background."""
    if logits.shape[1] == 1:
        return logits.sigmoid(), (target == 1).float()[:, None]
    probabilities, truth = every_class(logits, target)
    return probabilities[:, 1:], truth[:, 1:]


def every_class(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and one-hot truth (B, K, *) of all K classes; the first is the background."""
    if logits.shape[1] == 1:
        probabilities, truth = foreground(logits, target)
        return torch.cat([(-logits).sigmoid(), probabilities], 1), torch.cat([1 - truth, truth], 1)
    classes = torch.arange(logits.shape[1], device=target.device).view(1, -1, *[1] * (target.ndim - 1))
    return logits.softmax(1), (target[:, None] == classes).float()


def check_positive(**values: float) -> None:
    """Check arguments of a loss.

    Raises:
        UserError: If one is not above 0.
    """
    for name, value in values.items():
        check(f"loss.{name}", value, value > 0, "above 0")
