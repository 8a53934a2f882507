"""Checks for pipes: those that penstock holds its own to, for yours as well; and faults to hold a loop to."""

from penstock.testing import faults
from penstock.testing.conformance import CHECKS, Case, boom, check_pipe
from penstock.testing.items import plain
from penstock.testing.leftovers import no_leftovers

__all__ = ["CHECKS", "Case", "boom", "check_pipe", "faults", "no_leftovers", "plain"]
