"""The machine that will train: its kind and its memory."""

from dataclasses import dataclass

import torch

from unetkit.training.free_memory import free_ram


@dataclass(frozen=True)
class Machine:
    """A machine that trains.

    Attributes:
        name: Its GPU or CPU in words.
        is_gpu: Whether it trains on a GPU.
        memory: Bytes that training may take, of the GPU or of RAM.
    """

    name: str
    is_gpu: bool
    memory: int

    @classmethod
    def here(cls) -> "Machine":
        """Describe the machine that runs this program."""
        if torch.cuda.is_available():
            return cls(torch.cuda.get_device_name(), True, torch.cuda.mem_get_info()[0])
        threads = torch.get_num_threads()
        return cls(f"a CPU with {threads} thread{'s' * (threads > 1)}", False, free_ram())
