"""What a network keeps in memory between the forward and the backward pass."""

import torch
from torch import Tensor, nn


def activation_bytes(network: nn.Module, x: Tensor) -> int:
    """Bytes of the tensors that autograd keeps of one forward pass of x, parameters and x itself left out.

    Counted with saved-tensor hooks, each storage once. With gradient checkpointing, what the backward pass computes
    again for a moment is not in it.
    """
    known = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers(), x)}
    kept: dict[int, Tensor] = {}  # the tensors, so that no storage is freed and its address used again

    def remember(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        output = network(x)
    total = sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in known)
    del output
    return total
