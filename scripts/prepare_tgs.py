"""The same program as `unetkit prepare-tgs`."""

from unetkit.cli.prepare_tgs import run

if __name__ == "__main__":
    run()
