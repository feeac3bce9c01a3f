"""The device to predict on, by its name."""

import re

import torch

from unetkit.errors import UserError


def find_device(device: str | torch.device) -> torch.device:
    """Return the device of that name; `auto` is CUDA if there is one, else Apple's MPS, else the CPU.

    Raises:
        UserError: If there is no such device.
    """
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UserError(f"device={name}", "must be auto, cpu, cuda (or cuda:1, ...) or mps")
    seen = torch.cuda.device_count()
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= seen:
        raise UserError(f"device={name}", f"is not there: torch sees {seen or 'no'} CUDA device", "use device=cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}", "is not there: torch sees no such device", "use device=cpu")
    return torch.device(name)
