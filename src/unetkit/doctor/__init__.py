"""Tells before training what is wrong with a user's files, and proposes a configuration that fits them."""

from unetkit.data.findings import Finding, Severity
from unetkit.doctor.contact_sheet import contact_sheet
from unetkit.doctor.diagnosis import Diagnosis, diagnose
from unetkit.doctor.proposal.experiment import write_experiment
from unetkit.doctor.proposal.machine import Machine
from unetkit.doctor.report import report

__all__ = ["Diagnosis", "Finding", "Machine", "Severity", "contact_sheet", "diagnose", "report", "write_experiment"]
