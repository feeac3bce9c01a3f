import pytest
import torch
from torch import nn

from unetkit.models import ResidualUNet, UNet, fuse_conv_bn


@pytest.mark.parametrize(
    "network",
    [UNet(1, 1, (4, 8)), UNet(1, 1, (4, 8), block="residual", attention="gate"), ResidualUNet(bottleneck="pyramid")],
    ids=["unet", "residual blocks", "residual unet"],
)
def test_a_fused_network_gives_the_same_logits(network: nn.Module) -> None:
    x = torch.randn(2, 1, 37, 45)
    for _ in range(3):
        network.train()(x * 3 + 1)  # running statistics that are not 0 and 1
    with torch.no_grad():
        expected = network.eval()(x)
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        fused = fuse_conv_bn(network)
        left = sum(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
        assert left == 0 < norms
        torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-4)


def test_other_norms_are_not_fused() -> None:
    network = UNet(1, 1, (8, 16), norm="group")
    kept = [name for name, module in network.named_modules() if isinstance(module, nn.GroupNorm)]
    assert kept == [n for n, module in fuse_conv_bn(network).named_modules() if isinstance(module, nn.GroupNorm)]
