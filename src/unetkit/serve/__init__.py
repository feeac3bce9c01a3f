from unetkit.serve.app import build
from unetkit.serve.server import listen, run
from unetkit.serve.service import Limits, Service

__all__ = ["Limits", "Service", "build", "listen", "run"]
