"""
Checks that need weeks: the last days of a usage point beside its own history, columnar.

They look at what was measured or edited, never at estimates, so their verdict follows from raw
values and people's alone. What is found is told of the day on which it was looked at.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from cloud.store.db import Connection
from cloud.vee.rules import turns
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.findings import Findings, hits_of
from cloud.vee.service.estimating import Terms
from cloud.vee.service.looking import look, span_of_days
from protocols.identity import UsagePointId

_READINGS_AT_ONCE = 1_000_000
"""Readings laid on one grid: some 17 MB."""


def long_findings(
    conn: Connection,
    terms: Terms,
    points: Sequence[UsagePointId],
    day: date,
    *,
    every: int,
    since_ms: int,
    until_ms: int,
) -> Findings:
    """
    Return what the long checks find of those points that have their turn, told of the whole day.

    *Shape*: series of the hits index `points`. *Units*: `since_ms` .. `until_ms` are the day.
    """
    back = turns.days_back(terms.rules)
    chosen = [n for n, point in enumerate(points) if turns.has_turn(point, day, every)]
    found = Findings(by_code={})
    if not back or not chosen:
        return found
    rules = replace(
        terms.rules,
        checks={
            code: terms.rules.checks[code] for code in turns.LONG if code in terms.rules.checks
        },
    )
    first = day - timedelta(days=back - 1)
    span = span_of_days(first, day, terms.zone, terms.limit, terms.seconds)
    size = max(1, _READINGS_AT_ONCE * terms.seconds // (back * 86_400))
    for at in range(0, len(chosen), size):
        some = chosen[at : at + size]
        seen = look(
            conn, terms.supply, [points[n] for n in some], terms.installed, span,
            seconds=terms.seconds, zone=terms.zone,
        )  # fmt: skip
        part = check_series(seen.observed, rules, now_ms=seen.observed.grid.frame.end_ms)
        place = np.array(some, dtype=np.int64)
        for code, (severity, unit, hits) in part.by_code.items():
            if not len(hits):
                continue
            told = hits_of(
                place[hits.series], np.full(len(hits), since_ms), np.full(len(hits), until_ms),
                hits.value, hits.limit,
            )  # fmt: skip
            found = found.with_hits(code, severity, unit, told)
    return found
