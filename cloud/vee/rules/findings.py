"""What checks find, as columns: thousands of findings cost no object each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cloud.vee.model import ExceptionKind

Int = NDArray[np.int64]


class Severity(StrEnum):
    """What a finding does: told; the value is doubted; no bill is made of it."""

    WARNING = "warning"
    ERROR = "error"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """
    Where one check says no. *Shape*: equal columns. *Units*: ms, half-open; as the check says.

    `value` is what was found and `limit` what was allowed, both in the check's own unit.
    """

    series: Int
    start_ms: Int
    end_ms: Int
    value: Int
    limit: Int

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.series)


def hits_of(series: Int, start_ms: Int, end_ms: Int, value: Int, limit: Int | int) -> Hits:
    """Return hits from columns; a single limit is repeated."""
    limits = np.broadcast_to(np.asarray(limit, dtype=np.int64), series.shape)
    return Hits(
        series=series.astype(np.int64), start_ms=start_ms.astype(np.int64),
        end_ms=end_ms.astype(np.int64), value=value.astype(np.int64), limit=limits,
    )  # fmt: skip


def no_hits() -> Hits:
    """Return no hit at all."""
    empty = np.zeros(0, dtype=np.int64)
    return Hits(series=empty, start_ms=empty, end_ms=empty, value=empty, limit=empty)


def joined(parts: Sequence[Hits]) -> Hits:
    """Return hits of several calls after one another."""
    if not parts:
        return no_hits()
    return Hits(
        series=np.concatenate([part.series for part in parts]),
        start_ms=np.concatenate([part.start_ms for part in parts]),
        end_ms=np.concatenate([part.end_ms for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        limit=np.concatenate([part.limit for part in parts]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding for people. *Units*: ms; `value` and `limit` in `unit`."""

    code: ExceptionKind
    severity: Severity
    series: int
    start_ms: int
    end_ms: int
    value: int
    limit: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All findings of a call: the hits of each check that looked, with its severity."""

    by_code: dict[ExceptionKind, tuple[Severity, str, Hits]]

    def __len__(self) -> int:
        """Return how many findings there are."""
        return sum(len(hits) for _, _, hits in self.by_code.values())

    def of(self, code: ExceptionKind) -> Hits:
        """Return the hits of one check; none when it did not look."""
        found = self.by_code.get(code)
        return no_hits() if found is None else found[2]

    def with_hits(
        self, code: ExceptionKind, severity: Severity, unit: str, hits: Hits
    ) -> "Findings":
        """Return these findings and some more of one check."""
        known = self.of(code)
        whole = joined([known, hits]) if len(known) else hits
        return Findings(by_code={**self.by_code, code: (severity, unit, whole)})

    def listed(self) -> list[Finding]:
        """Return findings one by one, by series, time and code."""
        found = [
            Finding(
                code=code, severity=severity, series=series, start_ms=start, end_ms=end,
                value=value, limit=limit, unit=unit,
            )
            for code, (severity, unit, hits) in self.by_code.items()
            for series, start, end, value, limit in zip(
                hits.series.tolist(), hits.start_ms.tolist(), hits.end_ms.tolist(),
                hits.value.tolist(), hits.limit.tolist(), strict=True,
            )
        ]  # fmt: skip
        return sorted(found, key=lambda item: (item.series, item.start_ms, item.code, item.end_ms))
