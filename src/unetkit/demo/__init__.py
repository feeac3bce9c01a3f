from unetkit.demo.demo_model import DemoModel
from unetkit.demo.examples import folder_examples, synthetic_examples
from unetkit.demo.page import served

__all__ = ["DemoModel", "folder_examples", "served", "synthetic_examples"]
