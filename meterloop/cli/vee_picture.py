"""Small pictures of series on a terminal, and the tables beside them."""

from collections import Counter
from zoneinfo import ZoneInfo

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cloud.vee.rules.estimate import Estimates
from cloud.vee.rules.findings import Findings, Severity
from cloud.vee.rules.grid import Bool, State
from meterloop.series import Loaded
from protocols.timeline import from_ms

_BARS = "▁▂▃▄▅▆▇█"
_MOST_SERIES, _MOST_ROWS = 8, 40


def picture(
    each: Loaded, *, findings: Findings | None = None, made: Estimates | None = None
) -> None:
    """
    Draw each of the first series as one line: height is energy, `·` missing, red a finding.

    A column is as many slots as fit the terminal's width; estimates are drawn in another colour.
    """
    console = Console()
    grid = each.seen.grid if made is None else made.grid
    width = max(24, min(console.width - 4, 120))
    slots = grid.wh.shape[1]
    step = -(-slots // width)
    cuts = np.arange(0, slots, step)
    marked = _marked(each, findings)
    for row, name in enumerate(each.names[:_MOST_SERIES]):
        present = np.add.reduceat(grid.present[row].astype(np.int64), cuts)
        energy = np.add.reduceat(grid.wh[row], cuts)
        estimated = np.add.reduceat((grid.state[row] == State.ESTIMATED).astype(np.int64), cuts)
        wrong = np.add.reduceat(marked[row].astype(np.int64), cuts)
        mean = energy // np.maximum(present, 1)
        top = max(int(mean.max()), 1)
        line = []
        for n in range(len(cuts)):
            sign = "·" if not present[n] else _BARS[min(7, max(0, int(mean[n]) * 8 // (top + 1)))]
            colour = "red" if wrong[n] else "cyan" if estimated[n] else "green"
            line.append(f"[{colour}]{sign}[/{colour}]")
        console.print(f"{name}  (to {top} Wh)", highlight=False, markup=False)
        console.print("  " + "".join(line), highlight=False)
    if len(each.names) > _MOST_SERIES:
        console.print(f"  and {len(each.names) - _MOST_SERIES} more series")


def _marked(each: Loaded, findings: Findings | None) -> Bool:
    """Tell which slots a finding of an error or worse touches."""
    frame = each.seen.grid.frame
    marked = np.zeros(each.seen.grid.wh.shape, dtype=np.bool_)
    for severity, _, hits in findings.by_code.values() if findings else ():
        if severity is Severity.WARNING:
            continue
        first, _ = frame.slot_of(hits.start_ms)
        end, _ = frame.slot_of(hits.end_ms)
        for series, start, stop in zip(
            hits.series.tolist(), first.tolist(), end.tolist(), strict=True
        ):
            if (start, stop) != (0, len(frame)):
                marked[series, max(0, start) : max(0, stop)] = True
    return marked


def table_of_findings(each: Loaded, findings: Findings) -> None:
    """Print the findings, the gravest first, as a table."""
    rank = list(Severity)[::-1]
    listed = sorted(findings.listed(), key=lambda one: (rank.index(one.severity), one.start_ms))
    shown = _table(each, "findings", ("", "check", "series", "from", "for", "found", "allowed"))
    for one in listed[:_MOST_ROWS]:
        shown.add_row(
            one.severity.value[0].upper(), one.code.value, each.names[one.series],
            _local(each, one.start_ms), _for(one.end_ms - one.start_ms),
            f"{one.value:,} {one.unit}", f"{one.limit:,}",
        )  # fmt: skip
    _print(shown, len(listed), Counter(one.code.value for one in listed[_MOST_ROWS:]))


def table_of_estimates(each: Loaded, made: Estimates) -> None:
    """Print what was filled and what was refused as a table."""
    shown = _table(each, "estimates", ("series", "from", "for", "method", "by", "reason", "Wh"))
    for one in made.made[:_MOST_ROWS]:
        anchored = "rates" if one.by_rate else "register" if one.anchored else ""
        shown.add_row(
            each.names[one.series], _local(each, one.start_ms), _for(one.end_ms - one.start_ms),
            one.method or "refused", anchored, one.reason, f"{one.total_wh:,}",
        )  # fmt: skip
    _print(shown, len(made.made), Counter(one.method for one in made.made[_MOST_ROWS:]))


def _table(each: Loaded, title: str, columns: tuple[str, ...]) -> Table:
    """Return an empty table that keeps within eighty columns."""
    shown = Table(
        title=f"{title} ({each.seen.grid.frame.zone}; W warning, E error, B blocking)"
        if title == "findings" else f"{title} ({each.seen.grid.frame.zone})",
        title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1),
    )  # fmt: skip
    for column in columns:
        right = column in ("found", "allowed", "Wh", "for")
        folds = column in ("series", "check", "method", "reason")
        shown.add_column(
            column, justify="right" if right else "left", no_wrap=not folds, overflow="fold"
        )
    return shown


def _for(length_ms: int) -> str:
    """Return a length of time in its largest fitting unit."""
    minutes = length_ms // 60_000
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 1440 else f"{minutes // 1440} d"


def _print(shown: Table, total: int, rest: Counter[str]) -> None:
    if not total:
        return
    console = Console()
    console.print(shown)
    if rest:
        more = ", ".join(f"{count} {name or 'refused'}" for name, count in sorted(rest.items()))
        console.print(f"  and {sum(rest.values())} more: {more} (all with --json)")


def _local(each: Loaded, at_ms: int) -> str:
    return f"{from_ms(at_ms).astimezone(ZoneInfo(each.seen.grid.frame.zone)):%Y-%m-%d %H:%M}"
