"""The same program as `unetkit find-lr`."""

from unetkit.cli.find_lr import run

if __name__ == "__main__":
    run()
