"""Plans: commands and the order between them, from a TOML file or from Terraform, checked before anything runs."""

from fastdag.errors import PlanError as PlanError
from fastdag.plan.load import load as load
from fastdag.plan.model import Need as Need
from fastdag.plan.model import Plan as Plan
from fastdag.plan.model import PlannedUnit as PlannedUnit
from fastdag.plan.model import Problem as Problem

__all__ = ["Need", "Plan", "PlanError", "PlannedUnit", "Problem", "load"]
