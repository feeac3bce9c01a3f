"""The same program as `unetkit evaluate`."""

from unetkit.cli.evaluate import run

if __name__ == "__main__":
    run()
