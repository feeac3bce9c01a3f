from unetkit.demo.images import folder_examples, synthetic_examples
from unetkit.demo.page import is_loopback, served
from unetkit.demo.results import Model

__all__ = ["Model", "folder_examples", "is_loopback", "served", "synthetic_examples"]
