"""Intervals of one transaction by series: what simply continues, and what leaves gaps."""

from dataclasses import dataclass

import numpy as np

from cloud.vee.rules.grid import Bool, Int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """
    Intervals by series (meter, channel), each in order of time. *Units*: ms.

    *Shape*: one place per series; `starts` holds all starts, those of series n from `edges[n]` to
    `edges[n + 1]`. `step` is the length of the first; `whole` tells that none lacks in between.
    """

    meter: Int
    channel: Int
    low: Int
    high: Int
    step: Int
    whole: Bool
    starts: Int
    edges: Int

    def starts_of(self, n: int) -> Int:
        """Return the starts of one series."""
        return self.starts[self.edges[n] : self.edges[n + 1]]


def series_of(meter: Int, channel: Int, start_ms: Int, seconds: Int) -> Arrived:
    """Return rows in any order by series. *Shape*: equal columns, not empty. *Units*: ms, s."""
    order = np.lexsort((start_ms, channel, meter))
    meter, channel, start_ms = meter[order], channel[order], start_ms[order]
    step = seconds[order] * 1000
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (np.diff(meter) != 0) | (np.diff(channel) != 0)
    firsts = np.flatnonzero(fresh)
    edges = np.append(firsts, len(order))
    torn = np.zeros(len(order), dtype=np.int64)
    torn[1:] = ~fresh[1:] & ((np.diff(start_ms) != step[:-1]) | (step[1:] != step[:-1]))
    return Arrived(
        meter=meter[firsts], channel=channel[firsts], low=start_ms[firsts],
        high=start_ms[edges[1:] - 1], step=step[firsts],
        whole=np.add.reduceat(torn, firsts) == 0, starts=start_ms, edges=edges,
    )  # fmt: skip


def joins(series: Arrived, first: Int, newest: Int, step: Int, known: Bool) -> Bool:
    """
    Tell which series go on without a gap: new ones, and those that touch what is known on a side.

    *Shape*: one place per series. `first` and `newest` are starts in ms, meaningless where nothing
    is `known`.
    """
    after = (step == series.step) & (series.low == newest + step)
    before = (step == series.step) & (series.high == first - step)
    found: Bool = series.whole & (~known | after | before)
    return found
