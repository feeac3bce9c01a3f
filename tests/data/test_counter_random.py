"""Numbers drawn from counters: the same anywhere, spread as they should be, and independent of their neighbours."""

import pytest
import torch
from torch import Tensor

from unetkit.data.counter_random import mixed, normal, random_bits, uniform

COUNT = 40
SAMPLES = 4096


def drawn(seed: int = 47, epoch: int = 0, first: int = 0) -> Tensor:
    """Uniform numbers (SAMPLES, COUNT) of as many images."""
    return uniform(random_bits(seed, epoch, torch.arange(first, first + SAMPLES), COUNT))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_the_mixer_is_that_of_splitmix64() -> None:
    """Of the reference implementation, seeded with 0: its first three numbers."""
    states = torch.arange(1, 4) * (0x9E3779B97F4A7C15 - 2**64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [x % 2**64 for x in mixed(states).tolist()] == expected


def test_numbers_depend_on_their_counters_alone() -> None:
    whole = random_bits(3, 5, torch.tensor([8, 2, 9]), 6)
    assert torch.equal(random_bits(3, torch.tensor(5), torch.tensor([2]), 4), whole[1:2, :4])
    assert len(set(whole.flatten().tolist())) == whole.numel()


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    numbers = drawn()
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    counts = torch.histc(numbers, 64, 0, 1)
    expected = numbers.numel() / 64
    assert float(((counts - expected) ** 2 / expected).sum()) < 110  # chi squared, 63 degrees: 1 in 5,000 is above
    assert (numbers.mean(0) - 0.5).abs().max() < 0.5 * 4.5 / SAMPLES**0.5  # in each column


def test_normal_numbers_have_the_moments_and_tails_of_their_law() -> None:
    numbers = normal(random_bits(1, 2, torch.arange(SAMPLES), COUNT)).double()
    assert numbers.mean().item() == pytest.approx(0, abs=0.01)
    assert numbers.var().item() == pytest.approx(1, abs=0.02)
    assert (numbers**4).mean().item() == pytest.approx(3, abs=0.12)
    assert (numbers.abs() > 2).double().mean().item() == pytest.approx(0.0455, abs=0.003)
    extremes = torch.tensor([0, -1])  # the lowest and the highest bits
    assert normal(extremes).isfinite().all()
    assert normal(extremes)[1] == -normal(extremes)[0]


@pytest.mark.parametrize(
    "other",
    [{"epoch": 1}, {"first": 1}, {"seed": 48}, {"epoch": 1, "first": SAMPLES}],
    ids=["epoch", "index", "seed", "both"],
)
def test_neighbouring_counters_are_not_correlated(other: dict[str, int]) -> None:
    one, two = drawn(), drawn(**other)
    assert abs(correlation(one, two)) < 4.5 / one.numel() ** 0.5
    shifted = one[:, :-1], two[:, 1:]
    assert abs(correlation(*shifted)) < 4.5 / shifted[0].numel() ** 0.5


def test_columns_and_rows_are_not_correlated() -> None:
    between_columns = torch.corrcoef(drawn().T) - torch.eye(COUNT)
    assert between_columns.abs().max() < 5 / SAMPLES**0.5
    between_rows = torch.corrcoef(drawn()[:300]) - torch.eye(300)
    assert between_rows.abs().mean() == pytest.approx(0.8 / COUNT**0.5, rel=0.05)  # as of independent numbers


def test_each_bit_is_a_fair_coin() -> None:
    bits = random_bits(0, 0, torch.arange(SAMPLES), COUNT).flatten()
    for place in range(64):
        share = ((bits >> place) & 1).double().mean().item()
        assert share == pytest.approx(0.5, abs=0.5 * 4.5 / bits.numel() ** 0.5)
