"""Publish a checkpoint with its model card on the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory

from unetkit.checkpoints.checkpoint import Checkpoint
from unetkit.checkpoints.hub import FILE, hub_errors
from unetkit.checkpoints.strip import write_stripped
from unetkit.errors import UserError
from unetkit.report.card import model_card

# What the Hub reads of a card: https://huggingface.co/docs/hub/model-cards
HEAD = "---\nlibrary_name: unetkit\npipeline_tag: image-segmentation\ntags: [unet]\n---\n\n"


def push_to_hub(
    checkpoint: str | Path,
    repo: str,
    *,
    scores: str | Path | None = None,
    half: bool = False,
    public: bool = False,
    revision: str | None = None,
) -> str:
    """Write a checkpoint without the state of training, and its model card, to a repository of the Hub.

    Args:
        checkpoint: A checkpoint, or a run directory, which stands for its last checkpoint.
        repo: `OWNER/NAME`; it is made if it does not exist.
        scores: The directory of the cross-validation that the checkpoint is a fold of, for the card.
        half: Whether to store weights in float16.
        public: Whether a repository that is made here can be seen by everybody.
        revision: Branch to write to; None for the main one.

    Returns:
        The address for `unetkit.load`.

    Raises:
        UserError: If the checkpoint can't be read, huggingface_hub is not installed, or the Hub can't be reached or
            refuses.
    """
    address = f"hf://{repo}" + (f"@{revision}" if revision else "")
    subject = f"repo={repo}"
    Checkpoint.read(checkpoint)  # its mistakes before those of the Hub
    with hub_errors(subject):
        from huggingface_hub import HfApi, get_token

        if get_token() is None:
            raise UserError(subject, "needs a token of the Hub", "set HF_TOKEN, or run: hf auth login")
        with TemporaryDirectory() as folder:
            file = Path(folder) / FILE
            write_stripped(checkpoint, file, half=half)
            validation = None if scores is None else Path(scores)
            card = model_card(file, validation, name=repo.rpartition("/")[2], address=address)
            file.with_name("README.md").write_text(HEAD + card, encoding="utf-8")
            api = HfApi()
            api.create_repo(repo, private=not public, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=folder, revision=revision, commit_message="Upload by unetkit")
    return address
