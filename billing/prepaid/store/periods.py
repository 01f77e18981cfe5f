"""SQL of open stretches, and of the intervals that tell their energy."""

import json
from collections.abc import Sequence
from datetime import date, datetime

from billing.prepaid.model import Drawdown
from billing.prepaid.rules.periods import OpenUse
from billing.prepaid.store.rows import SQL, drawdown_of_row
from cloud.store.db import Connection


def open_uses(conn: Connection, agreements: Sequence[str]) -> dict[str, OpenUse]:
    """Return the open stretches of those that have one."""
    rows = conn.execute(SQL["open_stretches"], {"agreements": list(agreements)})
    return {
        row[0]: OpenUse(
            hourly=row[1], start=row[2], shape=row[3],
            before={reset: tuple(wh) for reset, wh in row[4].items()}, opened_at=row[5],
            opening_wh=tuple(row[6]), day_at=row[7], day_wh=tuple(row[8]), upto=row[9],
            energy_wh=tuple(row[10]),
        )
        for row in rows
    }  # fmt: skip


def put_stretch(conn: Connection, agreement: str, use: OpenUse) -> None:
    """Open a stretch in the place of the one before."""
    conn.execute(
        SQL["put_stretch"],
        {
            "agreement": agreement, "hourly": use.hourly, "start": use.start, "shape": use.shape,
            "before": json.dumps(use.before), "opened_at": use.opened_at,
            "opening": list(use.opening_wh), "day_at": use.day_at, "day": list(use.day_wh),
            "upto": use.upto, "energy": list(use.energy_wh),
        },
    )  # fmt: skip


def delete_stretch(conn: Connection, agreement: str) -> None:
    """Forget the open stretch: a tariff of ladder years follows."""
    conn.execute(SQL["delete_stretch"], {"agreement": agreement})


def note_uses(conn: Connection, uses: Sequence[tuple[str, date, Sequence[int]]]) -> None:
    """Write (agreement, day after the last charged, energy) that stored fees come from."""
    conn.execute(
        SQL["note_uses"],
        {
            "agreements": [agreement for agreement, _, _ in uses],
            "uptos": [upto for _, upto, _ in uses],
            # as text: arrays of unlike lengths are no array
            "energies": ["{" + ",".join(map(str, energy)) + "}" for _, _, energy in uses],
        },
    )


def begin_day(conn: Connection, agreement: str, *, at: datetime, energy: Sequence[int]) -> None:
    """Note up to where energy is settled: the open day's own intervals come on top."""
    conn.execute(SQL["begin_day"], {"agreement": agreement, "day_at": at, "day": list(energy)})


def set_drawn(conn: Connection, agreement: str, drawn_micros: int) -> None:
    """Note what the ledger took for all days together, after some were put right."""
    conn.execute(SQL["set_drawn"], {"agreement": agreement, "drawn": drawn_micros})


def billed_until(conn: Connection, agreement: str) -> date | None:
    """Return the day up to which bills of an agreement stand, or None."""
    row = conn.execute(SQL["billed_until"], {"agreement": agreement}).fetchone()
    return None if row is None else row[0]


def stretch_ends(
    conn: Connection, asked: Sequence[tuple[str, date]]
) -> dict[tuple[str, int], Drawdown]:
    """Return the last day drawn of each segment before a day, by agreement and segment."""
    rows = conn.execute(
        SQL["stretch_ends"],
        {"agreements": [name for name, _ in asked], "ends": [end for _, end in asked]},
    )
    found = [drawdown_of_row(row) for row in rows]
    return {(each.agreement, each.segment_seq): each for each in found}


def drawdowns_in_order(conn: Connection, agreement: str) -> list[Drawdown]:
    """Return every day drawn of an agreement as they were written, what puts days right too."""
    rows = conn.execute(SQL["drawdowns_in_order"], {"agreement": agreement})
    return [drawdown_of_row(row) for row in rows]
