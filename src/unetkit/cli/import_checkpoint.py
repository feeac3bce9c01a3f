"""Convert a checkpoint of another project: `unetkit import checkpoint=THEIRS.pth output=OURS.ckpt`."""

import hydra
from omegaconf import DictConfig

from unetkit.cli.start import start
from unetkit.errors import UserError, mistakes_in_one_line
from unetkit.paths import command_line, config_dir, path_of


@hydra.main(config_path=str(config_dir()), config_name="import_checkpoint", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Read a checkpoint of another project, write ours, and print what matched."""
    with mistakes_in_one_line():
        convert(cfg)


def convert(cfg: DictConfig) -> None:
    """Convert one file."""
    if cfg.checkpoint is None:
        raise UserError("checkpoint=", "is missing", "give the state dict or checkpoint of another project")

    from unetkit.checkpoints.importing import import_network, preprocessing_of, write_checkpoint

    theirs = path_of("checkpoint", cfg.checkpoint)
    output = path_of("output", cfg.output or theirs.with_name(f"{theirs.stem}-unetkit.ckpt"))
    imported = import_network(theirs, cfg.padding, cfg.prefix)
    preprocessing = preprocessing_of(imported, cfg.mean, cfg.std)
    write_checkpoint(imported, output, preprocessing, cfg.threshold)
    count = sum(p.numel() for p in imported.network.parameters())
    print(f"{imported.origin.project}: all {imported.tensors} tensors matched, {count:,} parameters")
    print("network: " + ", ".join(f"{key}={value}" for key, value in imported.model.items() if key != "_target_"))
    if imported.ignored:
        print(f"not needed and left out: {', '.join(imported.ignored)}")
    print(f"note: {imported.origin.note}")
    print(f"wrote {output}; next: {command_line('predict', f'checkpoint={output}', 'input=FILE_OR_FOLDER')}")


def run() -> None:
    """Run the command on what was typed."""
    start(main, __doc__, "import_checkpoint")
