"""What a machine's signals say about production: shifts, states, figures and energy. Pure."""

from gateway.production.calendar import Interval, WorkCalendar, intervals_of
from gateway.production.energy import ENERGY_FORMULAS, ENERGY_INPUTS, Energy, energy
from gateway.production.history import History
from gateway.production.kpi import FORMULAS, INPUTS, Figures, figures

__all__ = [
    "ENERGY_FORMULAS",
    "ENERGY_INPUTS",
    "FORMULAS",
    "INPUTS",
    "Energy",
    "Figures",
    "History",
    "Interval",
    "WorkCalendar",
    "energy",
    "figures",
    "intervals_of",
]
