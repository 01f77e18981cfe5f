"""
A change of CT/PT ratio: one person proposes it, sees what it changes, another verifies it.

It stands here because a factor lies below usage, and what it changes, roll-ups and bills, above.

    proposed -> verified (the factor holds, days since are made anew) | refused
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.assets.model import Ratio, RatioProposal, Refusal
from cloud.rollups.model import Change, Dependent
from cloud.rollups.rules.days import days_between
from cloud.rollups.service.measuring import days_of, measure
from cloud.rollups.service.terms import Finder
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.timeline import local_date

_ONE = timedelta(days=1)
_LONGEST = 800
"""Days that a preview looks at; a change that reaches farther back is shown from there on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayChange:
    """One civil day before and after. *Units*: Wh, None where it is not known."""

    day: date
    wh_before: int | None
    wh_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a change of a factor would change now: days that differ, and what had used them."""

    days: tuple[DayChange, ...]
    dependents: tuple[Dependent, ...]

    @property
    def difference_wh(self) -> int:
        """Return by how much the days differ together, as far as both are known."""
        return sum(
            each.wh_after - each.wh_before
            for each in self.days
            if each.wh_after is not None and each.wh_before is not None
        )


def propose_ratio(db: Database, ratio: Ratio, *, reason: str, actor: str, now: datetime) -> int:
    """
    Write down a change of a factor that another person must verify; return its number.

    Raises: RefusedError `assets.ratio` where factor, instant or reason cannot be, `assets.unknown`,
    `assets.differs`, `usage.ratio_register`.
    """
    with db.transaction() as conn:
        _can_be(ratio, reason, now)
        usage.check_ratio(conn, ratio)
        return assets.propose_ratio(conn, ratio, reason=reason.strip(), actor=actor, now=now)


def verify_ratio(db: Database, id_: int, *, actor: str, now: datetime) -> RatioProposal:
    """
    Let a proposed factor hold. Roll-ups since its instant are made anew by the next turn.

    Raises: RefusedError `assets.unknown`, `assets.decided`, `assets.same_person`, or what
    `propose_ratio` refuses: readings may have come since.
    """
    with db.transaction() as conn:
        found = assets.decide_ratio(conn, id_, verified=True, reason="", actor=actor, now=now)
        usage.apply_ratio(conn, found.ratio, actor=actor, reason=found.reason, now=now)
        return found


def refuse_ratio(
    db: Database, id_: int, *, reason: str, actor: str, now: datetime
) -> RatioProposal:
    """
    Refuse a proposed factor, or withdraw one's own.

    Raises: as `verify_ratio`, but anybody may; `assets.ratio` where no reason is given.
    """
    with db.transaction() as conn:
        return assets.decide_ratio(conn, id_, verified=False, reason=reason, actor=actor, now=now)


def preview_ratio(
    db: Database, ratio: Ratio, finder: Finder | None, *, actor: str, now: datetime
) -> Preview:
    """
    Return what a factor would change, by letting it hold and taking all of it back again.

    `finder` tells which bills had used the days. Raises: as `propose_ratio`.
    """
    with db.transaction() as conn, conn.transaction(force_rollback=True):
        usage.check_ratio(conn, ratio)
        point = assets.usage_point(conn, ratio.usage_point)
        assert point is not None
        zone = ZoneInfo(point.zone)
        today = local_date(now, zone)
        first = max(local_date(ratio.valid_from, zone), today - _LONGEST * _ONE)
        keys = [(ratio.usage_point, day) for day in days_between(first, today)]
        if not keys:
            return Preview(days=(), dependents=())
        days = days_of(keys)
        before = measure(conn, days).table
        usage.apply_ratio(conn, ratio, actor=actor, reason="preview", now=now)
        after = measure(conn, days).table
        rows = (~after.same(before)).nonzero()[0].tolist()
        changed = [keys[n][1] for n in rows]
        changes = [
            Change(
                usage_point=ratio.usage_point, day=day, zone=point.zone,
                before=before.figures(n), after=after.figures(n), at=now,
            )
            for n, day in zip(rows, changed, strict=True)
        ]  # fmt: skip
        # each thing once: the last day of it that changed tells
        answers = finder(conn, changes) if finder is not None else []
        found = {(each.kind, each.reference): each for answer in answers for each in answer}
        told = [(before.figures(n).wh, after.figures(n).wh) for n in rows]
        return Preview(
            days=tuple(
                DayChange(day=day, wh_before=old, wh_after=new)
                for day, (old, new) in zip(changed, told, strict=True)
            ),
            dependents=tuple(found.values()),
        )


def _can_be(ratio: Ratio, reason: str, now: datetime) -> None:
    fault = (
        "the factor is not between 1/1,000,000 and 1,000,000"
        if not (1 <= ratio.numerator <= 10**6 and 1 <= ratio.denominator <= 10**6)
        else "it lies in the future" if ratio.valid_from > now
        else "why is not said" if not reason.strip()
        else ""
    )  # fmt: skip
    if fault:
        raise RefusedError(
            Refusal.RATIO, f"the change of {ratio.usage_point} cannot be: {fault}",
            fix="state the ratio of the transformers, since when they hang, and the order or note",
        )  # fmt: skip
