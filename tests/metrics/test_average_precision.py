"""Average precision depends on the order of the pixels only, and is that of the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from unetkit.metrics import average_precision, ranking_counts, ranking_sample
from unetkit.metrics.ranking import SAMPLE, group_bounds

Images = list[tuple[Tensor, Tensor]]
PIXEL = st.tuples(st.integers(-40, 40), st.booleans())


def ours(images: Images) -> float:
    """The score of probabilities and truths of several images."""
    samples = torch.stack([ranking_sample(p, target, torch.ones_like(target)) for p, target in images])
    sizes = torch.stack([torch.stack([(~target).sum(), target.sum()]) for _, target in images])
    return average_precision(ranking_counts(samples[:, None], sizes[:, None]).sum(0)[0]).item()


def exact(images: Images) -> float:
    """The same by torchmetrics, from all pixels sorted; it gives 0 where no pixel is of the class."""
    p, target = (torch.cat(column) for column in zip(*images, strict=True))
    return binary_average_precision(p.double(), target.int()).item()


def random_images(count: int, pixels: int, share: float, seed: int) -> Images:
    """Scores of pixels whose images differ in the share of the class, and in how sure they are."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for image in range(count):
        target = torch.rand(pixels, generator=generator) < share * (image % 3)
        shift = torch.randn(1, generator=generator)
        images.append((torch.randn(pixels, generator=generator) + 2 * target + 0.5 * shift, target))
    return images


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(PIXEL, min_size=1, max_size=40), min_size=1, max_size=4))
def test_average_precision_of_few_pixels_is_exact_whatever_their_probabilities(
    drawn: list[list[tuple[int, bool]]],
) -> None:
    scores = [torch.tensor(pixels).T for pixels in drawn]
    if not any(pixels[1].any() for pixels in scores):
        return
    steps: Images = [((pixels[0] + 41) / 82, pixels[1].bool()) for pixels in scores]
    wanted = exact(steps)
    squared = [(p * p, target) for p, target in steps]  # p**4 may give equal numbers two values, by their place
    for scale, shift, images in (
        (1.0, 0.0, steps),
        (1.0, 0.0, squared),
        (1e-4, 0.9999, steps),
        (1e-20, 0.0, steps),
        (1e-5, 0.3, steps),
    ):
        mapped = [(shift + scale * p, target) for p, target in images]
        assert ours(mapped) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "pixels", "share"), [(40, 10_201, 0.15), (3, 300_000, 0.002), (3, 300_000, 0.3), (200, 700, 0.01)]
)
def test_average_precision_of_many_pixels_is_close_and_does_not_change_with_an_increasing_map(
    count: int, pixels: int, share: float
) -> None:
    images = random_images(count, pixels, share, seed=1)
    assert ours(images) == pytest.approx(exact(images), abs=5e-4)
    for scale, shift in ((0.1, -6.0), (0.5, 5.0), (1.0, -12.0)):
        mapped = [((scale * s.double() + shift).sigmoid().float(), target) for s, target in images]
        assert ours(mapped) == pytest.approx(exact(images), abs=5e-4)  # float32 makes some pixels equal


def test_what_is_kept_of_an_image_does_not_grow_with_it() -> None:
    (small, large) = random_images(1, 50, 0.3, 2)[0], random_images(2, 100_000, 0.3, 2)[1]
    shapes = {ranking_sample(p, target, torch.ones_like(target)).shape for p, target in (small, large)}
    assert shapes == {(2, SAMPLE)}
    for size in (SAMPLE + 1, 5000, 10**8):
        for label in (0, 1):
            bounds = group_bounds(size, label)
            assert (int(bounds[0]), int(bounds[-1])) == (0, size)
            assert bounds.diff().min() >= 1


def test_invalid_pixels_are_left_out_and_a_class_without_pixels_has_no_average_precision() -> None:
    p, target, valid = torch.tensor([[0.9, 0.8, 0.1], [1, 0, 1], [0, 1, 1]])
    sample = ranking_sample(p, target.bool(), valid.bool())[None, None]
    assert average_precision(ranking_counts(sample, torch.tensor([[[1, 1]]])))[0, 0] == 0.5
    nothing = ranking_sample(p, target.bool(), valid.bool() & ~target.bool())[None, None]
    assert average_precision(ranking_counts(nothing, torch.tensor([[[1, 0]]]))).isnan().all()
