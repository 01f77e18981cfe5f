"""What both benches share: figures in the order of measuring, each beside its reference."""

import argparse
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Figures:
    """What was measured, by name. A reference is measured or computed in the same run."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    plain: dict[str, Any] = field(default_factory=dict)

    def add(
        self, name: str, value: float, unit: str, note: str = "", *, beside: float | None = None
    ) -> None:
        """Keep a figure; `beside` is its reference, in the same unit."""
        ratio = None if not beside else value / beside
        self.rows.append(
            (
                name,
                f"{_shown(value)} {unit}",
                "" if beside is None else _shown(beside),
                "" if ratio is None else f"{ratio:.3g} x",
                note,
            )
        )
        self.plain[name] = {"value": round(value, 4), "unit": unit, "note": note}
        if ratio is not None and beside is not None:
            self.plain[name] |= {"reference": round(beside, 4), "ratio": round(ratio, 4)}

    def missing(self, name: str, why: str) -> None:
        """Say that a figure could not be measured here."""
        self.rows.append((name, "-", "", "", why))

    def show(self, title: str, *, table: bool) -> None:
        """Print the table, if wanted, and one JSON object."""
        if table:
            printed = Table(title=title, title_justify="left")
            for column in ("figure", "value", "reference", "ratio", "note"):
                printed.add_column(column)
            for row in self.rows:
                printed.add_row(*row)
            Console(width=150).print(printed)
        sys.stdout.write(json.dumps(self.plain) + "\n")


def options_of(doc: str | None, *, seconds: float) -> argparse.Namespace:
    """Return the options of a bench: `json`, `seconds`."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--seconds", type=float, default=seconds, help="length of each load")
    return parser.parse_args()


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
