"""Listen at an address, and serve an application there until a signal comes."""

import socket

import uvicorn
from fastapi import FastAPI

from unetkit.errors import UserError
from unetkit.server_log import errors_in_one_line

SECONDS = 30  # after the signal, in which requests that have come are answered


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Args:
        host: Name or address.
        port: Port; 0 for a free one.

    Raises:
        UserError: If the address can't be listened at.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        problem = f"can't be listened at ({error.strerror or error})"
        fix = "if another program uses the port, choose another"
        raise UserError(f"host={host} port={port}", problem, fix) from error


def server_of(app: FastAPI) -> uvicorn.Server:
    """Return a server that answers the requests that have come before it ends."""
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=SECONDS, lifespan="on")
    return uvicorn.Server(config)


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve an application until SIGTERM or Ctrl-C ends it.

    Args:
        app: The application.
        listening: The socket of `listen`.
    """
    with errors_in_one_line():
        server_of(app).run(sockets=[listening])
