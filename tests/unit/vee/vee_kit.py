"""Small series for tests of checks and estimators: built from lists, None is missing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from cloud.vee.rules.findings import Hits
from cloud.vee.rules.grid import Grid, State, frame_of
from cloud.vee.rules.observed import Facts, Observed, plain_facts
from protocols.timeline import to_ms

BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
START_MS = to_ms(START)
HOUR = 3600


def ints(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def grid_of(
    rows: Sequence[Sequence[int | None]],
    *,
    step_s: int = HOUR,
    start_ms: int = START_MS,
    zone: ZoneInfo = UTC_ZONE,
    states: Sequence[Sequence[int]] | None = None,
    status: Sequence[Sequence[int]] | None = None,
) -> Grid:
    """Return a grid of rows; None is missing, everything else measured unless `states` says."""
    wh = ints([[0 if value is None else value for value in row] for row in rows])
    present = np.array([[value is not None for value in row] for row in rows])
    state = np.where(present, int(State.MEASURED), 0) if states is None else np.array(states)
    return Grid(
        frame=frame_of(start_ms, wh.shape[1], step_s, zone),
        wh=np.where(state == 0, 0, wh),
        state=state.astype(np.int8),
        status=np.zeros_like(wh) if status is None else ints(status),
    )


def seen_of(grid: Grid, facts: Facts | None = None, **more: object) -> Observed:
    return Observed(grid=grid, facts=facts or plain_facts(len(grid.wh)), **more)  # type: ignore[arg-type]


def facts_with(series: int, **columns: object) -> Facts:
    """Return plain facts with some columns given."""
    plain = plain_facts(series)
    return Facts(
        **{
            name: ints(columns[name]) if name in columns else getattr(plain, name)
            for name in Facts.__slots__
        }
    )


def slots(hits: Hits, grid: Grid) -> list[tuple[int, int, int]]:
    """Return hits as (series, first slot, end slot)."""
    step, origin = grid.frame.step_s * 1000, grid.frame.start_ms
    first, end = (hits.start_ms - origin) // step, (hits.end_ms - origin) // step
    return sorted(zip(hits.series.tolist(), first.tolist(), end.tolist(), strict=True))


def told(hits: Hits) -> set[tuple[int, int, int, int, int]]:
    """Return hits as rows."""
    columns = (hits.series, hits.start_ms, hits.end_ms, hits.value, hits.limit)
    return set(zip(*(column.tolist() for column in columns), strict=True))
