from unetkit.report.card import model_card
from unetkit.report.comparison import write_comparison
from unetkit.report.folder import evaluate_models
from unetkit.report.html import write_report

__all__ = ["evaluate_models", "model_card", "write_comparison", "write_report"]
