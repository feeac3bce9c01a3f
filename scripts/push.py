"""The same program as `unetkit push`."""

from unetkit.cli.push import run

if __name__ == "__main__":
    run()
