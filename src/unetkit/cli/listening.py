"""Check the address that `demo` and `serve` listen at, warn of other users, and stop in order."""

import ipaddress
import signal
import sys

from unetkit.errors import check, is_whole


def check_port(port: object, least: int = 1) -> None:
    """Check the key `port`.

    Raises:
        UserError: If it is no port from `least` on.
    """
    check("port", port, is_whole(port, least) and port < 65536, f"a whole number from {least} to 65535")


def warn_of_others(host: str, what: str) -> None:
    """Say on stderr that other machines reach the address, if they do.

    Args:
        host: The key `host`.
        what: The page or service, as the warning calls it.
    """
    if not is_loopback(host):
        print(f"warning: host={host}: everybody who reaches this machine can use {what}", file=sys.stderr)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def interrupt_on_signals() -> None:
    """Let SIGTERM raise `KeyboardInterrupt`, as Ctrl-C does, so that both end the program in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
