"""
Interval series from files: CSV, Parquet or NEM12 octets to what checks and estimators take.

A column file names series, start and energy; registers come in a second one. Stamps are instants:
each carries its offset, or the caller tells the fixed offset of all. A local clock without offset
is refused: its repeated hour is two hours in one.
"""

from meterloop.series.columns import NAMES, QUALITIES, READ_NAMES, Options, Refusal
from meterloop.series.series import Loaded, load

__all__ = ["NAMES", "QUALITIES", "READ_NAMES", "Loaded", "Options", "Refusal", "load"]
