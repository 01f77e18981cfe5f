"""Series from files, ready for checks and estimators: rows on a grid, registers, plain facts."""

from dataclasses import dataclass

import numpy as np

from cloud.vee.rules.grid import Int, frame_of, placed
from cloud.vee.rules.observed import NO_SERIES, Facts, Observed, Reads, Rows, reads_of
from meterloop.series.columns import Columns, Options, Refusal, columns_of, refused, registers_of
from protocols.timeline import from_ms, local_date, local_day, to_ms

MOST_OCTETS = 1_000_000_000
MOST_SLOTS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Series of one interval length, with their names in the order of the grid's rows."""

    names: tuple[str, ...]
    seen: Observed


def load(octets: bytes, registers: bytes | None, options: Options) -> list[Loaded]:
    """
    Return the series in a file, those of equal interval length together, and their registers.

    Raises: RefusedError with the line that would mend it.
    """
    if len(octets) > MOST_OCTETS:
        raise refused(Refusal.SIZE, "the file is larger than a gigabyte", "cut it by series")
    columns = columns_of(octets, options)
    reads = registers_of(registers, options, columns.names) if registers else Reads()
    lengths = _lengths(columns)
    return [
        _grouped(columns, reads, np.nonzero(lengths == step)[0], int(step), options)
        for step in np.unique(lengths).tolist()
    ]


def _lengths(columns: Columns) -> Int:
    """Return the interval length of each series: as told most often, else the commonest step."""
    lengths = np.zeros(len(columns.names), dtype=np.int64)
    order = np.lexsort((columns.start_ms, columns.series))
    series, start = columns.series[order], columns.start_ms[order]
    cuts = np.searchsorted(series, np.arange(len(columns.names) + 1))
    for n in range(len(lengths)):
        mine = slice(cuts[n], cuts[n + 1])
        told = (
            columns.seconds[order][mine] if columns.seconds.any() else np.diff(start[mine]) // 1000
        )
        told = told[told > 0]
        if len(told):
            values, count = np.unique(told, return_counts=True)
            lengths[n] = values[count.argmax()]
    lengths[lengths == 0] = lengths.max() or 3600
    wrong = lengths[86_400 % lengths != 0]
    if len(wrong):
        raise refused(
            Refusal.SHAPE, f"intervals of {int(wrong[0])} s do not divide a day",
            "give the length in a column seconds, or mend the starts",
        )  # fmt: skip
    return lengths


def _grouped(columns: Columns, reads: Reads, mine: Int, step: int, options: Options) -> Loaded:
    """Put the rows of some series on one grid."""
    place = np.full(len(columns.names), NO_SERIES, dtype=np.int64)
    place[mine] = np.arange(len(mine))
    rows = np.nonzero(place[columns.series] != NO_SERIES)[0]
    series, start = place[columns.series[rows]], columns.start_ms[rows]
    first, end = int(start.min()), int(start.max()) + step * 1000
    midnight = to_ms(local_day(local_date(from_ms(first), options.zone), options.zone).start)
    origin = midnight + (first - midnight) % (step * 1000)
    slots = -(-(end - origin) // (step * 1000))
    if slots * len(mine) > MOST_SLOTS:
        raise refused(
            Refusal.SIZE, f"{len(mine)} series over {slots} slots are too many at once",
            "cut the file by series or by time",
        )  # fmt: skip
    frame = frame_of(origin, slots, step, options.zone)
    seconds = columns.seconds[rows]
    seconds = np.where(seconds == 0, step, seconds)
    grid = placed(
        frame, len(mine), series=series, start_ms=start, seconds=seconds, wh=columns.wh[rows],
        state=columns.state[rows], status=columns.status[rows],
    )  # fmt: skip
    known = np.isin(reads.series, mine)
    own = reads_of(
        place[reads.series[known]], reads.rate[known], reads.at_ms[known], reads.wh[known],
        factor=reads.factor[known],
    )  # fmt: skip
    came = Rows(
        series=series, start_ms=start, seconds=seconds, wh=columns.wh[rows],
        unit=columns.unit[rows], factor=columns.factor[rows], factor_known=columns.factor[rows],
    )  # fmt: skip
    return Loaded(
        names=tuple(columns.names[n] for n in mine.tolist()),
        seen=Observed(
            grid=grid, facts=_facts(columns, mine, came, step=step, reads=own, options=options),
            reads=own, rows=came, reactive=np.array([columns.reactive[n] for n in mine.tolist()]),
        ),
    )  # fmt: skip


def _facts(
    columns: Columns, mine: Int, rows: Rows, *, step: int, reads: Reads, options: Options
) -> Facts:
    """Return what the file itself tells: from when to when, which series are of one meter."""
    series, start = rows.series, rows.start_ms
    count = len(mine)
    since, until = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(since, series, start)
    np.maximum.at(until, series, start + step * 1000)
    np.minimum.at(since, reads.series, reads.at_ms)
    np.maximum.at(until, reads.series, reads.at_ms)
    _, device = np.unique([columns.device[n] for n in mine.tolist()], return_inverse=True)
    reactive = np.array([columns.reactive[n] for n in mine.tolist()])
    active_of = np.full(count, NO_SERIES, dtype=np.int64)
    for n in np.nonzero(reactive)[0].tolist():
        partners = np.nonzero((device == device[n]) & ~reactive)[0]
        if len(partners) == 1:
            active_of[n] = partners[0]
    nobody = np.full(count, NO_SERIES, dtype=np.int64)
    return Facts(
        capacity_w=np.full(count, options.capacity_w, dtype=np.int64),
        rollover_wh=np.zeros(count, dtype=np.int64), device=device.astype(np.int64),
        active_of=active_of, check_of=nobody, part_of=nobody, installed_ms=since,
        removed_ms=until,
    )  # fmt: skip
