from unetkit.report.page import write_report
from unetkit.report.run import evaluate_models

__all__ = ["evaluate_models", "write_report"]
