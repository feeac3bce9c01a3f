"""The same program as `unetkit import`."""

from unetkit.cli.import_checkpoint import run

if __name__ == "__main__":
    run()
