"""Losses of outlines and centre lines.

Distances are euclidean, taken with scipy on the CPU for each batch, and given in sides of the image (the d-th root of
the number of its pixels that count), so that a loss is no larger for larger images.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from unetkit.errors import UserError, check
from unetkit.losses.per_image import PerImageLoss, check_positive, foreground, mean_of_pixels
from unetkit.losses.regions import DiceLoss, SoftCounts


class BoundaryLoss(PerImageLoss):
    """Mistakes weighted by their distance to the true outline: Kervadec et al. 2019, arXiv 1812.07032, eqs. 4 and 5.

    The mean over pixels of phi (p - t), where phi is the distance to the true region, negative within it (and there one
    pixel less, as in the authors' code). The paper leaves the constant -phi t out, which has no gradient; with it a
    perfect prediction costs 0. Without an outline, on empty and full masks, |phi| is one side of the image.

    It says little where nothing is predicted yet: add it to a region loss, as the paper does.
    """

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        probabilities, truth = foreground(logits, target)
        side = image_side(valid).view(-1, *[1] * (truth.ndim - 1))
        distance = distance_to_outline(truth > 0, valid) - truth / side
        return mean_of_pixels((distance * (probabilities - truth).abs()).mean(1), valid)


class HausdorffLoss(PerImageLoss):
    """Squared mistakes far from the outlines: Karimi & Salcudean 2019, arXiv 1904.10030, eq. 8 (distance transforms).

    The mean over pixels of (p - t)^2 (d_p^alpha + d_t^alpha), where d_t and d_p are the distances to the outline of
    truth and prediction (at 0.5), or one side of the image where there is none.

    Args:
        alpha: More looks more at the farthest mistakes; the paper takes 2.
    """

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        check_positive(alpha=alpha)
        self.alpha = alpha

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        probabilities, truth = foreground(logits, target)
        regions = torch.cat([probabilities > 0.5, truth > 0], 1)
        of_prediction, of_truth = (distance_to_outline(regions, valid) ** self.alpha).chunk(2, 1)
        return mean_of_pixels(((probabilities - truth) ** 2 * (of_prediction + of_truth)).mean(1), valid)


class ClDiceLoss(PerImageLoss):
    """Dice, and Dice of the centre lines, for thin connected things: Shit et al. 2021, arXiv 2003.07311, eqs. 1 to 3.

    (1 - alpha) Dice loss + alpha (1 - 2 precision * sensitivity / (precision + sensitivity)), where precision is the
    share of the predicted skeleton within the true mask, sensitivity that of the true skeleton within the prediction,
    with the soft skeleton of algorithm 1, in two or three dimensions. Made for images that hold such things: on an
    empty mask a wide prediction has little skeleton too, so that only the Dice term takes it back.

    Args:
        alpha: In [0, 1]; the skeletons alone (1) say nothing on full masks, which have none.
        iterations: Of thinning: the half width of the widest thing, in pixels.
        smooth: In pixels, above 0.
    """

    def __init__(self, alpha: float = 0.5, iterations: int = 3, smooth: float = 1.0) -> None:
        super().__init__()
        check_positive(iterations=iterations)
        check("loss.iterations", iterations, isinstance(iterations, int), "a whole number of pixels")
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha={alpha} of the clDice loss must be in [0, 1]")
        self.alpha = alpha
        self.iterations = iterations
        self.dice = DiceLoss(smooth)
        self.smooth = smooth

    def per_image(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """The loss (B,)."""
        probabilities, truth = foreground(logits, target)
        precision = self._share(soft_skeleton(probabilities, valid, self.iterations), truth)
        sensitivity = self._share(soft_skeleton(truth, valid, self.iterations), probabilities)
        centre_lines = (2 * precision * sensitivity / (precision + sensitivity)).mean(1)
        dice = self.dice.score(SoftCounts.of(probabilities, truth, valid)).mean(1)
        return 1 - (1 - self.alpha) * dice - self.alpha * centre_lines

    def _share(self, skeleton: Tensor, region: Tensor) -> Tensor:
        """The smoothed share (B, K) of a skeleton that lies within a region, both (B, K, *)."""
        within = (skeleton * region).flatten(2).sum(2)
        return (within + self.smooth) / (skeleton.flatten(2).sum(2) + self.smooth)


def image_side(valid: Tensor) -> Tensor:
    """The d-th root (B,) of the number of pixels in `valid` (B, *), at least 1."""
    return valid.flatten(1).sum(1).clamp(min=1) ** (1 / (valid.ndim - 1))


def distance_to_outline(regions: Tensor, valid: Tensor) -> Tensor:
    """How far each pixel is from the nearest that counts on the other side of the outline.

    Args:
        regions: Booleans (B, K, *).
        valid: What counts, (B, *).

    Returns:
        (B, K, *) in sides of the image; 1 where there is no other side.
    """
    valid_there, sides = valid.cpu(), image_side(valid).tolist()
    distance = torch.ones(regions.shape)
    for image, per_class in enumerate(regions.cpu()):
        for label, inside in enumerate(per_class):
            for here, there in ((inside, ~inside), (~inside, inside)):
                goal = there & valid_there[image]
                if goal.any():
                    pixels = torch.from_numpy(distance_transform_edt(~goal.numpy())).float()
                    distance[image, label][here] = pixels[here] / sides[image]
    return distance.to(regions.device)


def soft_skeleton(region: Tensor, valid: Tensor, iterations: int) -> Tensor:
    """Algorithm 1 of clDice: what opening takes away from a soft region (B, K, *) and from each of its erosions.

    Pixels that do not count are like those beyond the frame: nothing grows from there, and nothing is eroded.
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
    """The smallest of each pixel and its neighbours along the axes."""
    dims = region.ndim - 2
    along = [_max_pool(-region, [3 if i == axis else 1 for i in range(dims)]) for axis in range(dims)]
    return -reduce(torch.maximum, along)


def _dilate(region: Tensor) -> Tensor:
    """The largest of each pixel and all its neighbours."""
    return _max_pool(region, [3] * (region.ndim - 2))


def _max_pool(x: Tensor, kernel: list[int]) -> Tensor:
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]
    return pool(x, kernel, stride=1, padding=[size // 2 for size in kernel])
