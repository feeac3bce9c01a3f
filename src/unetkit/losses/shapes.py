"""Losses of outlines and centre lines.

Distances are Euclidean, computed by SciPy on the CPU for each batch. Their unit is the image side, that is, the d-th
root of the number of valid pixels, so that losses don't grow with the size of the image.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from unetkit.errors import check
from unetkit.losses.per_image import PerImageLoss, check_positive, foreground, mean_of_pixels
from unetkit.losses.regions import SMOOTHING, DiceLoss, SoftCounts


class BoundaryLoss(PerImageLoss):
    """Errors weighted by their distance to the true outline: Kervadec et al. 2019, arXiv 1812.07032, eqs. 4 and 5.

    The mean over pixels of phi (p - t), where phi is the distance to the true region, negative inside it (and there one
    pixel less, as in the authors' code). The paper leaves out the constant -phi t, which has no gradient; with it the
    loss of a perfect prediction is 0. On empty and full masks, which have no outline, |phi| is one image side.

    Add it to a region loss, as the paper does: alone, it hardly learns from an empty prediction.
    """

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        probabilities, truth = foreground(logits, target)
        side = image_side(valid).view(-1, *[1] * (truth.ndim - 1))
        distance = distance_to_outline(truth > 0, valid) - truth / side
        return mean_of_pixels((distance * (probabilities - truth).abs()).mean(1), valid)


class HausdorffLoss(PerImageLoss):
    """Squared errors weighted by their distance to the outlines: Karimi & Salcudean 2019, arXiv 1904.10030, eq. 8.

    The mean over pixels of (p - t)^2 (d_p^alpha + d_t^alpha), where d_t and d_p are the distances to the outlines of
    truth and prediction (thresholded at 0.5), or one image side without an outline.

    Args:
        alpha: Exponent of the distances, above 0; the paper's is 2. A larger one weights the farthest errors more.
    """

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        check_positive(alpha=alpha)
        self.alpha = alpha

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        probabilities, truth = foreground(logits, target)
        regions = torch.cat([probabilities > 0.5, truth > 0], 1)
        of_prediction, of_truth = (distance_to_outline(regions, valid) ** self.alpha).chunk(2, 1)
        return mean_of_pixels(((probabilities - truth) ** 2 * (of_prediction + of_truth)).mean(1), valid)


class ClDiceLoss(PerImageLoss):
    """Dice of masks and of centre lines, for thin connected structures: Shit et al. 2021, arXiv 2003.07311, eqs. 1-3.

        (1 - alpha) Dice loss + alpha (1 - 2 precision * sensitivity / (precision + sensitivity))

    where precision is the share of the predicted skeleton inside the true mask, and sensitivity that of the true
    skeleton inside the prediction, with the soft skeletons of algorithm 1, in two or three dimensions. On an empty mask
    a wide prediction has a small skeleton, so there only the Dice loss has a useful gradient.

    Args:
        alpha: Weight of the skeletons, in [0, 1]. With 1, full masks, which have no skeleton, have no gradient.
        iterations: Steps of thinning: half the width of the widest structure, in pixels.
        smooth: The earlier form of `smoothing`, in pixels and for all masks, above 0.
        smoothing: Smoothing of the Dice loss on masks without the class, as a share of the image's valid pixels, and
            of the skeletons, which are lines, as a share of the image's side, in (0, 1].

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self, alpha: float = 0.5, iterations: int = 3, smooth: float | None = None, *, smoothing: float = SMOOTHING
    ) -> None:
        super().__init__()
        check_positive(iterations=iterations)
        check("loss.iterations", iterations, isinstance(iterations, int), "a whole number of pixels")
        check("loss.alpha", alpha, 0 <= alpha <= 1, "in [0, 1]")
        self.alpha = alpha
        self.iterations = iterations
        self.dice = DiceLoss(smooth, smoothing=smoothing)

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss (B,)."""
        probabilities, truth = foreground(logits, target)
        smooth = self.dice.smoothing.of(image_side(valid)[:, None])
        precision = share_within(soft_skeleton(probabilities, valid, self.iterations), truth, smooth)
        sensitivity = share_within(soft_skeleton(truth, valid, self.iterations), probabilities, smooth)
        centre_lines = (2 * precision * sensitivity / (precision + sensitivity)).mean(1)
        dice = self.dice.score(SoftCounts.of(probabilities, truth, valid)).mean(1)
        return 1 - (1 - self.alpha) * dice - self.alpha * centre_lines


def share_within(skeleton: Tensor, region: Tensor, smooth: Tensor | float) -> Tensor:
    """Compute the share (B, K) of a skeleton that is inside a region, both (B, K, *), smoothed by this many pixels."""
    within = (skeleton * region).flatten(2).sum(2)
    return (within + smooth) / (skeleton.flatten(2).sum(2) + smooth)


def image_side(valid: Tensor) -> Tensor:
    """Compute the d-th root (B,) of the number of pixels in `valid` (B, *), at least 1."""
    return valid.flatten(1).sum(1).clamp(min=1) ** (1 / (valid.ndim - 1))


def distance_to_outline(regions: Tensor, valid: Tensor) -> Tensor:
    """Compute the distance from each pixel to the nearest valid pixel on the other side of the outline.

    Args:
        regions: Booleans (B, K, *).
        valid: Booleans (B, *).

    Returns:
        Distances (B, K, *) in image sides; 1 if there is no pixel on the other side.
    """
    valid_cpu, sides = valid.cpu(), image_side(valid).tolist()
    distance = torch.ones(regions.shape)
    for image, per_class in enumerate(regions.cpu()):
        for label, inside in enumerate(per_class):
            for here, there in ((inside, ~inside), (~inside, inside)):
                goal = there & valid_cpu[image]
                if goal.any():
                    pixels = torch.from_numpy(distance_transform_edt(~goal.numpy())).float()
                    distance[image, label][here] = pixels[here] / sides[image]
    return distance.to(regions.device)


def soft_skeleton(region: Tensor, valid: Tensor, iterations: int) -> Tensor:
    """Compute the soft skeleton (algorithm 1 of clDice): what opening removes from a region and from its erosions.

    Invalid pixels are treated as those outside the image: neither erosion nor dilation starts from them.

    Args:
        region: Probabilities (B, K, *), in [0, 1].
        valid: Booleans (B, *).
        iterations: Number of erosions.
    """
    valid = valid[:, None]
    skeleton = torch.zeros_like(region)
    for _ in range(iterations + 1):
        eroded = _erode(torch.where(valid, region, 1))
        ridge = (region - _dilate(torch.where(valid, eroded, 0))).relu()
        skeleton = skeleton + (ridge - skeleton * ridge).relu()
        region = eroded
    return skeleton * valid


def _erode(region: Tensor) -> Tensor:
    """Take the minimum over each pixel and its neighbours along the axes."""
    dims = region.ndim - 2
    along = [_max_pool(-region, [3 if i == axis else 1 for i in range(dims)]) for axis in range(dims)]
    return -reduce(torch.maximum, along)


def _dilate(region: Tensor) -> Tensor:
    """Take the maximum over each pixel and all its neighbours."""
    return _max_pool(region, [3] * (region.ndim - 2))


def _max_pool(x: Tensor, kernel: list[int]) -> Tensor:
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]
    return pool(x, kernel, stride=1, padding=[size // 2 for size in kernel])
