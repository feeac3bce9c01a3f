"""Write the checkpoints of a run whole or not at all, on every file system."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from unetkit.checkpoints.files import write_content
from unetkit.errors import UserError
from unetkit.paths import whole_file
from unetkit.training.stopping import how_to_resume


class WholeCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target, and rename it once the disk holds all of it.

    Lightning's own writes to TMPDIR, from where the file is copied if that is on another device: a program that is
    killed meanwhile leaves part of the file, and nothing of the one before.

    Args:
        is_found_again: Whether the same command finds the checkpoint.
    """

    def __init__(self, is_found_again: bool = False) -> None:
        super().__init__()
        self.is_found_again = is_found_again

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; until it is whole, the one before stays.

        Raises:
            UserError: If it can't be written, as on a full disk.
        """
        file = Path(path)
        try:
            with whole_file(file, sync=True) as part:
                write_content(checkpoint, part)
        except OSError as error:
            problem = f"can't be written ({error.strerror or error})"
            is_one_before = file.exists()
            resume = f"the one before is whole: make room; {how_to_resume(file, self.is_found_again)}"
            fix = resume if is_one_before else "make room, or give another place with hydra.run.dir="
            raise UserError(str(file), problem, fix) from error
