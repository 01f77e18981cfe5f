"""What a bill of a balance is priced from: the stretches that its days were drawn on, as pinned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from billing.customers.model import AgreementId
from billing.prepaid import store
from billing.prepaid.model import Drawdown, Segment
from billing.prepaid.rules.periods import month_after, month_of, pinned_use, use_file
from billing.prepaid.service import versions
from cloud.store.db import Connection
from protocols.timeline import local_date

Span = tuple[date, date]


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledStretch:
    """
    A part of a billing period as prepayment priced it; local days `[start, end)`, Wh.

    `usage` is a usage file without account, currency, quality and demand; `whole` are the days of
    the billing period that lines of the whole period count.
    """

    digest: str
    usage: Mapping[str, Any]
    start: date
    end: date
    whole: Span
    closing: bool
    from_register_wh: int
    register_wh: int
    energy_wh: tuple[int, ...]


class UnalignedError(Exception):
    """A span that does not begin and end where stretches do, so its drawdowns are no bill."""


def stretches_of(
    conn: Connection, spans: Mapping[AgreementId, Span]
) -> dict[AgreementId, list[BilledStretch] | UnalignedError]:
    """Return the stretches of spans of those that had a tariff of periods in them."""
    every: dict[AgreementId, list[Segment]] = {}
    for segment in store.segments_of_many(conn, list(spans)):
        every.setdefault(segment.agreement, []).append(segment)
    chains = {name: _chain(found) for name, found in every.items()}
    named = [name for name, found in chains.items() if any(each.start for each in found)]
    if not named:
        return {}
    ends = store.stretch_ends(conn, [(name, spans[name][1]) for name in named])
    found: dict[AgreementId, list[BilledStretch] | UnalignedError] = {}
    for name in named:
        try:
            parts = _parts(conn, chains[name], spans[name], ends)
        except UnalignedError as error:
            found[name] = error
            continue
        if parts:
            found[name] = parts
    return found


def _chain(every: Sequence[Segment]) -> list[Segment]:
    """Return the segments a fee is built on: those before the last, each naming its own."""
    by_seq, found = {each.seq: each for each in every}, [every[-1]]
    while found[0].previous is not None:
        found.insert(0, by_seq[found[0].previous])
    return found


def _parts(
    conn: Connection, chain: Sequence[Segment], span: Span,
    ends: Mapping[tuple[str, int], Drawdown],
) -> list[BilledStretch]:  # fmt: skip
    found: list[BilledStretch] = []
    for segment, following in pairwise([*chain, None]):
        assert segment is not None
        begins = _first_day(conn, segment)
        until = span[1] if following is None else min(span[1], _first_day(conn, following))
        if until <= span[0] or begins >= until:
            continue
        if segment.start is None:
            raise UnalignedError("a ladder of years and a tariff of periods lie in one span")
        if begins < span[0]:
            raise UnalignedError(f"days from {begins} were drawn together, the bill is of {span}")
        used, register = _end(segment, following, until, ends)
        file = versions.file_of(conn, segment.tariff_hash)
        found.append(
            BilledStretch(
                digest=segment.tariff_hash,
                usage=use_file(file, pinned_use(segment), used, until), start=begins, end=until,
                whole=(begins, until), closing=until in (month_after(begins), span[1]),
                from_register_wh=segment.register_wh, register_wh=register, energy_wh=used,
            )
        )  # fmt: skip
    return [_with_whole(each, found) for each in found]


def _end(
    segment: Segment, following: Segment | None, until: date,
    ends: Mapping[tuple[str, int], Drawdown],
) -> tuple[tuple[int, ...], int]:  # fmt: skip
    """Return energy and register at the end of a part."""
    if following is not None and following.previous_wh and following.start == until:
        return following.previous_wh, following.register_wh
    last = ends.get((segment.agreement, segment.seq))
    if last is None or last.energy_wh is None or (until - last.day).days != 1:
        raise UnalignedError(f"no day was drawn that ends before {until}")
    return last.energy_wh, last.register_wh


def _with_whole(part: BilledStretch, every: Sequence[BilledStretch]) -> BilledStretch:
    """Return a part with the days of its billing period that the span has."""
    month = [each for each in every if month_of(each.start) == month_of(part.start)]
    return BilledStretch(
        digest=part.digest, usage=part.usage, start=part.start, end=part.end,
        whole=(month[0].start, month[-1].end), closing=part.closing,
        from_register_wh=part.from_register_wh, register_wh=part.register_wh,
        energy_wh=part.energy_wh,
    )  # fmt: skip


def _first_day(conn: Connection, segment: Segment) -> date:
    if segment.start is not None:
        return segment.start
    zone = versions.file_of(conn, segment.tariff_hash).zone_info
    return local_date(segment.started_at, zone)
