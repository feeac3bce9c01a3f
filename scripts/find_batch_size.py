"""The same program as `unetkit find-batch-size`."""

from unetkit.cli.find_batch_size import run

if __name__ == "__main__":
    run()
