"""The same program as `unetkit cross-validate`."""

from unetkit.cli.cross_validate import run

if __name__ == "__main__":
    run()
