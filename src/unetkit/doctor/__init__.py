"""What is wrong with a user's files, told before training, and the configuration that they ask for."""

from unetkit.doctor.diagnosis import Diagnosis, diagnose
from unetkit.doctor.findings import Finding, Severity
from unetkit.doctor.proposal import Machine, write_experiment
from unetkit.doctor.report import contact_sheet, report

__all__ = ["Diagnosis", "Finding", "Machine", "Severity", "contact_sheet", "diagnose", "report", "write_experiment"]
