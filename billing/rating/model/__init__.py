"""What pricing is asked, what it works with, what it answers: arrays of integers and a trace."""

from billing.rating.model.charges import ChargeLine, Charges, TraceLine
from billing.rating.model.compiled import (
    CompiledAttribute,
    CompiledCredit,
    CompiledEnergy,
    CompiledLine,
    CompiledPercent,
    CompiledPf,
    CompiledPower,
    CompiledTariff,
    CompiledValue,
    Ladder,
    LineHead,
)
from billing.rating.model.use import PastDemand, PeriodUse, Use, UseColumns

__all__ = [
    "ChargeLine",
    "Charges",
    "CompiledAttribute",
    "CompiledCredit",
    "CompiledEnergy",
    "CompiledLine",
    "CompiledPercent",
    "CompiledPf",
    "CompiledPower",
    "CompiledTariff",
    "CompiledValue",
    "Ladder",
    "LineHead",
    "PastDemand",
    "PeriodUse",
    "TraceLine",
    "Use",
    "UseColumns",
]
