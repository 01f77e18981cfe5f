"""
What a bill is priced from: a usage file and tariff versions, pinned by one hash.

The same text under the same versions gives the same lines, years later too; pricing here is the
kernel's, cut where versions change by the rules of rating.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

from billing.bills.model import Line, Refusal
from billing.rating.model import CompiledTariff, PeriodUse
from billing.rating.rules import kernel
from billing.rating.rules.usage import Piece, check_capacity, pieces_of
from billing.tariffs.model import Tariff
from billing.tariffs.rules import read_usage
from billing.tariffs.rules.calendar import days_between, months_between
from protocols.errors import RefusedError

Versions = Mapping[str, tuple[Tariff, CompiledTariff]]
"""Tariff versions by digest, as files and as arrays."""

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_COMPACT = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What a pinned input costs. *Units*: micros, Wh."""

    lines: tuple[Line, ...]
    total_micros: int
    closing_micros: int
    """What of the total no open period is charged: minimum, demand, what is of the whole period."""
    energy_wh: int


def canonical_usage(usage: Mapping[str, Any]) -> str:
    """Return the one spelling of a usage file."""
    return _CANONICAL(usage)


def input_hash(usage: str, versions: Sequence[str]) -> bytes:
    """Return the hash that pins what is priced: use and tariff versions."""
    return hashlib.sha256("\n".join([usage, *versions]).encode()).digest()


def kwh(wh: int) -> str:
    """Return Wh as a usage file writes them."""
    whole, part = divmod(wh, 1000)
    return f"{whole}.{part:03}" if part else str(whole)


def price_pinned(usage: str, digests: Sequence[str], versions: Versions) -> Priced:
    """Return what one pinned input costs. Raises: RefusedError as rating does."""
    priced = price_many([(usage, digests)], versions)[0]
    if isinstance(priced, RefusedError):
        raise priced
    return priced


def price_many(
    inputs: Sequence[tuple[str, Sequence[str]]], versions: Versions
) -> list[Priced | RefusedError]:
    """Return what each pinned input costs, or why it cannot be; one kernel call a version."""
    cut: list[list[tuple[str, Piece]] | RefusedError] = []
    frames: _Frames = {}
    for usage, digests in inputs:
        try:
            cut.append(pieces_like(usage, digests, versions, frames))
        except RefusedError as error:
            cut.append(error)
    rows: dict[str, list[tuple[int, PeriodUse]]] = {}
    for number, pieces in enumerate(cut):
        if not isinstance(pieces, RefusedError):
            for digest, piece in pieces:
                rows.setdefault(digest, []).append((number, piece.use))
    parts: dict[int, list[Priced]] = {}
    for digest, uses in rows.items():
        _price_version(versions[digest][1], uses, parts)
    return [
        pieces if isinstance(pieces, RefusedError) else _joined(parts[number])
        for number, pieces in enumerate(cut)
    ]


def pieces_in(usage: str, digests: Sequence[str], versions: Versions) -> list[tuple[str, Piece]]:
    """
    Return the pieces of a pinned input, each with its tariff version.

    An input in `parts` is one that terms changed in: each part states its own use, version and
    attributes, and the days of the whole period. Raises: RefusedError as rating does.
    """
    stated = json.loads(usage)
    if "parts" in stated:
        return [_part(each, versions) for each in stated["parts"]]
    named = {id(versions[digest][0]): digest for digest in digests}
    pieces = pieces_of([versions[digest][0] for digest in digests], read_usage(usage.encode()))
    return [(named[id(piece.tariff)], piece) for piece in pieces]


_Frames = dict[tuple[str, str, tuple[str, ...]], tuple[str, Piece, dict[str, Any]]]
_OWN = ("account", "readings", "before_kwh")
"""What differs from one household to the next in a usage file that is else the same."""
_MULTIPLIES = frozenset({"ct_ratio", "pt_ratio", "ratio_applied", "loss_kwh"})
_PLAIN_KWH = re.compile(r"\d{1,12}(\.\d{1,3})?").fullmatch


def pieces_like(
    usage: str, digests: Sequence[str], versions: Versions, frames: _Frames
) -> list[tuple[str, Piece]]:
    """
    Return what `pieces_in` does, to the last figure, for one of many inputs that are much alike.

    Most of a book differ in account, two registers and a counter alone: the first of them is read
    whole and kept in `frames`, the others take those numbers. Raises: as `pieces_in`.
    """
    stated = json.loads(usage)
    marks = _plain_marks(stated) if len(digests) == 1 else None
    if marks is None:
        return pieces_in(usage, digests, versions)
    rest = _CANONICAL({name: each for name, each in stated.items() if name not in _OWN})
    (start, end), before = marks
    key = (digests[0], rest, tuple(before))
    if key not in frames:
        found = pieces_in(usage, digests, versions)
        if len(found) == 1 and found[0][1].tariff.period_names == ("all",):
            use = found[0][1].use
            frames[key] = (*found[0], {each.name: getattr(use, each.name) for each in fields(use)})
        return found
    digest, like, known = frames[key]
    use = PeriodUse(**{**known, "energy_wh": (end - start,), "before_wh": before})
    check_capacity(like.tariff, use)
    return [(digest, Piece(tariff=like.tariff, use=use, known_by=like.known_by))]


def _plain_marks(stated: Mapping[str, Any]) -> tuple[tuple[int, int], dict[str, tuple[int]]] | None:
    """Return registers at both ends and counters, in Wh; None where there is more to it."""
    match stated:
        case {
            "account": str(),
            "readings": [{"at": first, **one}, {"at": last, **other}],
            "period": {"start": start, "end": end},
            **rest,
        } if (first, last) == (start, end) and one.keys() == other.keys() == {"kwh"}:
            pass
        case _:
            return None
    if not _MULTIPLIES.isdisjoint(rest):
        return None
    opening, closing = _only_wh(one["kwh"]), _only_wh(other["kwh"])
    counters = {reset: _only_wh(each) for reset, each in rest.get("before_kwh", {}).items()}
    known = {reset: (each,) for reset, each in counters.items() if each is not None}
    if opening is None or closing is None or closing < opening or len(known) < len(counters):
        return None
    return (opening, closing), known


def _only_wh(by_period: object) -> int | None:
    if not isinstance(by_period, dict) or list(by_period) != ["all"]:
        return None
    text = by_period["all"]
    if not isinstance(text, str) or not _PLAIN_KWH(text):
        return None
    whole, _, part = text.partition(".")
    return int(whole) * 1000 + int(part.ljust(3, "0") or "0")


def _part(stated: Mapping[str, Any], versions: Versions) -> tuple[str, Piece]:
    tariff = versions[stated["digest"]][0]
    piece = pieces_of([tariff], read_usage(_CANONICAL(stated["usage"]).encode()))[0]
    first, end = (date.fromisoformat(day) for day in stated["whole"])
    whole = replace(
        piece.use, whole_days=days_between(first, end), whole_months=months_between(first, end)
    )
    return stated["digest"], replace(piece, use=whole)


def _price_version(
    tariff: CompiledTariff, uses: Sequence[tuple[int, PeriodUse]], parts: dict[int, list[Priced]]
) -> None:
    try:
        charges, while_open = kernel.price_closed_and_open(tariff, [use for _, use in uses])
    except ValueError as error:
        raise RefusedError(
            Refusal.UNMETERED, f"{tariff.code}: {error}", fix="park the account and check its use"
        ) from error
    columns, totals, still = charges.lines.T.tolist(), charges.total.tolist(), while_open.tolist()
    for place, (number, use) in enumerate(uses):
        total = totals[place]
        energy = sum(use.energy_wh)
        lines = [
            Line(
                tariff=tariff.digest, line=line.head.id, ledger_code=line.head.ledger_code,
                energy_wh=energy, amount_micros=columns[place][row],
            )
            for row, line in enumerate(tariff.lines)
            if row in tariff.counted
        ]  # fmt: skip
        rest = total - sum(line.amount_micros for line in lines)
        if rest:
            lines.append(
                Line(
                    tariff=tariff.digest, line="rounding", ledger_code="revenue_rounding",
                    energy_wh=energy, amount_micros=rest,
                )
            )  # fmt: skip
        # a part that ends inside the period has its minimum and demand too, as the bill comes
        closing = total - still[place]
        parts.setdefault(number, []).append(
            Priced(lines=tuple(lines), total_micros=total, closing_micros=closing, energy_wh=energy)
        )


def _joined(parts: Sequence[Priced]) -> Priced:
    return Priced(
        lines=tuple(line for part in parts for line in part.lines),
        total_micros=sum(part.total_micros for part in parts),
        closing_micros=sum(part.closing_micros for part in parts),
        energy_wh=sum(part.energy_wh for part in parts),
    )


def lines_as_text(lines: Sequence[Line]) -> str:
    """Return lines as a bill keeps them."""
    return _COMPACT(
        [
            {
                "tariff": line.tariff, "line": line.line, "ledger_code": line.ledger_code,
                "energy_wh": line.energy_wh, "amount_micros": line.amount_micros,
            }
            for line in lines
        ]
    )  # fmt: skip


def lines_from_text(text: str) -> tuple[Line, ...]:
    """Return the lines a bill keeps."""
    if text == "[]":  # an item before its price
        return ()
    return tuple(Line(**line) for line in json.loads(text))
