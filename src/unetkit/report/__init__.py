from unetkit.report.card import model_card
from unetkit.report.comparison import write_comparison
from unetkit.report.page import MAIN, write_report
from unetkit.report.run import evaluate_models

__all__ = ["MAIN", "evaluate_models", "model_card", "write_comparison", "write_report"]
