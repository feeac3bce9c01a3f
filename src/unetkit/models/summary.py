"""The layers of a network as a table, and the memory of its activations."""

import torch
from torch import Tensor, nn

from unetkit.models.padding import predict_full_frame


def activation_bytes(network: nn.Module, x: Tensor) -> int:
    """Measure the bytes that autograd keeps for the backward pass of x, without parameters, buffers and x itself.

    Counted with saved-tensor hooks, each storage once. With gradient checkpointing, the activations that the backward
    pass recomputes are not included.
    """
    known = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers(), x)}
    kept: dict[int, Tensor] = {}  # keeps the tensors, since the address of a freed storage may be used again

    def remember(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        output = network(x)
    total = sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in known)
    del output
    return total


def layer_table(network: nn.Module, x: Tensor) -> str:
    """List the blocks in the order of use: name, kind, parameters, and shape (C, H, W) of the output for x."""
    blocks: dict[nn.Module, str] = {}
    for name, child in network.named_children():
        members = child.named_children() if isinstance(child, nn.ModuleList) else [("", child)]
        blocks |= {block: f"{name}.{member}".rstrip(".") for member, block in members}
    lines = []

    def note(block: nn.Module, _: object, output: Tensor) -> None:
        size = sum(p.numel() for p in block.parameters())
        shape = " x ".join(map(str, output.shape[1:]))
        lines.append(f"  {blocks[block]:<12}{type(block).__name__:<14}{size:>12,}   {shape}")

    hooks = [block.register_forward_hook(note) for block in blocks]
    training = network.training
    with torch.no_grad():
        output = predict_full_frame(network.eval(), x)
    network.train(training)
    for hook in hooks:
        hook.remove()
    total = sum(p.numel() for p in network.parameters())
    sizes = ["x".join(map(str, t.shape[1:])) for t in (x, output)]
    head = f"network {type(network).__name__}: {total:,} parameters, {sizes[0]} in, {sizes[1]} out"
    return "\n".join([head, f"  {'block':<12}{'kind':<14}{'parameters':>12}   output", *lines])
