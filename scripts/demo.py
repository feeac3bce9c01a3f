"""The same program as `unetkit demo`."""

from unetkit.cli.demo import run

if __name__ == "__main__":
    run()
