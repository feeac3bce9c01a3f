from unetkit.report.page import MAIN, write_report
from unetkit.report.run import evaluate_models

__all__ = ["MAIN", "evaluate_models", "write_report"]
