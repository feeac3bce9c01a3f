"""What all losses share: a value for each image, averaged over those that hold a pixel that counts."""

import torch
from torch import Tensor, nn

from unetkit.errors import UserError


class PerImageLoss(nn.Module):
    """A mean over the images of a batch; images without a pixel that counts have no say."""

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """A scalar of logits (B, C, *), class indices (B, *) and booleans (B, *) that tell what counts."""
        return mean_of_images(self.per_image(logits.float(), target, valid), valid)

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,) of float32 logits; finite where nothing counts."""
        raise NotImplementedError


def mean_of_images(losses: Tensor, valid: Tensor) -> Tensor:
    """The mean of losses (B,) over the images with a pixel in `valid` (B, *); 0 where there is none."""
    counts = valid.flatten(1).any(1)
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def mean_of_pixels(values: Tensor, valid: Tensor) -> Tensor:
    """The means (B,) of values (B, *) over the pixels in `valid` (B, *)."""
    return (values * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)


def foreground(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot truth (B, K, *) of the K classes that are not background."""
    if logits.shape[1] == 1:
        return logits.sigmoid(), (target == 1).float()[:, None]
    probabilities, truth = every_class(logits, target)
    return probabilities[:, 1:], truth[:, 1:]


def every_class(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot truth (B, K, *) of all K classes, of which the first is the background."""
    if logits.shape[1] == 1:
        probabilities, truth = foreground(logits, target)
        return torch.cat([(-logits).sigmoid(), probabilities], 1), torch.cat([1 - truth, truth], 1)
    classes = torch.arange(logits.shape[1], device=target.device).view(1, -1, *[1] * (target.ndim - 1))
    return logits.softmax(1), (target[:, None] == classes).float()


def check_positive(**values: float) -> None:
    """Check keys of a loss.

    Raises:
        UserError: If one is not above 0.
    """
    for key, value in values.items():
        if not value > 0:
            raise UserError(f"{key}={value} of the loss must be above 0")
