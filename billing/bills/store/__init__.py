"""SQL of runs, items, bills, cancellations and documents."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from psycopg.types.json import Jsonb

from billing.bills.model import (
    METERED,
    Agreement,
    Bill,
    BillId,
    BillKind,
    CancelKind,
    Gate,
    Item,
    ItemState,
    NewBill,
    Run,
    RunId,
    SheetLine,
    Stage,
)
from billing.bills.rules.pinned import lines_as_text, lines_from_text
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")
_METERED = [kind.value for kind in METERED]

BillKey = tuple[str, date, date, str, int]
"""Account, period start and end, kind, seq."""

DrawnDays = Mapping[str, tuple[date, int, int | None, int | None]]
"""By agreement: the open day, micros drawn, first and last register of the span."""


def insert_run(
    conn: Connection, *, book: str, start: date, end: date, seq: int, zone: str, gate: Gate,
    actor: str, now: datetime,
) -> RunId | None:  # fmt: skip
    """Insert a run; None when it stands already."""
    row = conn.execute(
        _SQL["insert_run"],
        {
            "book": book, "start": start, "end": end, "seq": seq, "zone": zone,
            "gate": Jsonb(asdict(gate)),
            "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    return RunId(row[0]) if row else None


def runs_of_period(conn: Connection, book: str, start: date, end: date) -> list[Run]:
    """Return the runs of a book and period, oldest first."""
    rows = conn.execute(_SQL["runs_of_period"], {"book": book, "start": start, "end": end})
    return [_run(row) for row in rows]


def run_by_id(conn: Connection, run: int) -> Run | None:
    """Return a run, or None."""
    row = conn.execute(_SQL["run_by_id"], {"run": run}).fetchone()
    return _run(row) if row else None


def newest_runs(conn: Connection, limit: int) -> list[Run]:
    """Return the newest runs."""
    return [_run(row) for row in conn.execute(_SQL["newest_runs"], {"limit": limit})]


def lock_run(conn: Connection, run: int) -> Stage:
    """Lock a run until commit and return its stage."""
    row = conn.execute(_SQL["lock_run"], {"run": run}).fetchone()
    assert row is not None
    return Stage(row[0])


def lock_open_runs(conn: Connection) -> None:
    """Take turns with every run that may post: no time is billed twice at once."""
    conn.execute(_SQL["lock_open_runs"])


def set_stage(
    conn: Connection, run: int, stage: Stage, now: datetime, *, closed_by: str | None = None,
    sheet_hash: bytes | None = None,
) -> None:  # fmt: skip
    """Move a run on."""
    conn.execute(
        _SQL["set_stage"],
        {
            "run": run, "stage": stage.value, "now": now, "closed_by": closed_by,
            "sheet_hash": sheet_hash,
        },
    )  # fmt: skip


def assign_book(
    conn: Connection, accounts: Sequence[str], book: str, actor: str, now: datetime
) -> None:
    """Put accounts into a book."""
    conn.execute(
        _SQL["assign_book"],
        {"accounts": list(accounts), "book": book, "actor": actor, "now": now},
    )


def unfrozen_agreements(
    conn: Connection, run: Run, *, end_at: datetime, after: str, limit: int
) -> list[Agreement]:
    """Return agreements of a run that have no item yet, in pages by name."""
    rows = conn.execute(
        _SQL["unfrozen_agreements"],
        {
            "run": run.id, "book": run.book, "end": run.period_end, "end_at": end_at,
            "after": after, "limit": limit, "kinds": _METERED,
        },
    )  # fmt: skip
    return [_agreement(row) for row in rows]


def agreements_named(conn: Connection, agreements: Sequence[str]) -> list[Agreement]:
    """Return open agreements by name, in that order."""
    rows = conn.execute(_SQL["agreements_named"], {"agreements": list(agreements)})
    return [_agreement(row) for row in rows]


def insert_items(conn: Connection, run: int, items: Sequence[Item]) -> None:
    """Insert items, or freeze them anew where they stand unbilled."""
    conn.execute(
        _SQL["insert_items"],
        {
            "run": run,
            "agreements": [i.agreement for i in items], "accounts": [i.account for i in items],
            "usage_points": [i.usage_point for i in items],
            "currencies": [i.currency for i in items], "kinds": [i.kind.value for i in items],
            "states": [i.state.value for i in items],
            "reasons": [",".join(i.reasons) for i in items],
            "details": [i.detail for i in items], "starts": [i.period_start for i in items],
            "ends": [i.period_end for i in items], "usages": [i.usage for i in items],
            "versions": [",".join(i.versions) for i in items],
            "hashes": [i.input_hash for i in items], "qualities": [i.quality for i in items],
            "methods": [i.method for i in items], "start_whs": [i.start_wh for i in items],
            "end_whs": [i.end_wh for i in items], "energies": [i.energy_wh for i in items],
            "credits": [",".join(str(bill) for bill in i.credits) for i in items],
            "drawn": [i.drawn_micros for i in items], "facts": [i.facts for i in items],
        },
    )  # fmt: skip


def items_in_state(
    conn: Connection, run: int, state: ItemState, *, after: str, limit: int
) -> list[Item]:
    """Return items of a run in one state, in pages by agreement."""
    rows = conn.execute(
        _SQL["items_in_state"], {"run": run, "state": state.value, "after": after, "limit": limit}
    )
    return [_item(row) for row in rows]


def item_for_update(conn: Connection, run: int, agreement: str) -> Item | None:
    """Return one item, locked, or None."""
    row = conn.execute(_SQL["item_for_update"], {"run": run, "agreement": agreement}).fetchone()
    return _item(row) if row else None


def set_states(
    conn: Connection, run: int, changes: Sequence[tuple[str, ItemState, Sequence[str], str]], *,
    accepted_by: str | None = None,
) -> None:  # fmt: skip
    """Give items (agreement, state, reasons, detail)."""
    conn.execute(
        _SQL["set_states"],
        {
            "run": run, "agreements": [change[0] for change in changes],
            "states": [change[1].value for change in changes],
            "reasons": [",".join(change[2]) for change in changes],
            "details": [change[3] for change in changes], "accepted_by": accepted_by,
        },
    )  # fmt: skip


def set_prices(conn: Connection, run: int, items: Sequence[Item]) -> None:
    """Write what items cost, with the state that follows."""
    conn.execute(
        _SQL["set_prices"],
        {
            "run": run, "agreements": [i.agreement for i in items],
            "states": [i.state.value for i in items],
            "lines": [lines_as_text(i.lines) for i in items],
            "totals": [i.total_micros for i in items],
            "closings": [i.closing_micros for i in items],
            "reasons": [",".join(i.reasons) for i in items], "details": [i.detail for i in items],
        },
    )  # fmt: skip


def set_billed(conn: Connection, run: int, pairs: Sequence[tuple[str, BillId]]) -> None:
    """Tie items to their bills."""
    conn.execute(
        _SQL["set_billed"],
        {
            "run": run, "agreements": [agreement for agreement, _ in pairs],
            "bills": [bill for _, bill in pairs],
        },
    )  # fmt: skip


def count_states(conn: Connection, run: int) -> dict[str, int]:
    """Return how many items are in each state."""
    return {row[0]: row[1] for row in conn.execute(_SQL["count_states"], {"run": run})}


def insert_approval(
    conn: Connection, item: Item, actor: str, now: datetime, *, matter: str = "amount"
) -> None:
    """Note that somebody agrees to an item's present input: its amount, or that it is billed so."""
    conn.execute(
        _SQL["insert_approval"],
        {
            "run": item.run, "agreement": item.agreement, "input_hash": item.input_hash,
            "matter": matter, "actor": actor, "now": now,
        },
    )  # fmt: skip


def approvers(conn: Connection, item: Item, matter: str = "amount") -> list[str]:
    """Return who agreed to an item's present input in some matter, the earliest first."""
    rows = conn.execute(
        _SQL["approvers"],
        {
            "run": item.run, "agreement": item.agreement, "input_hash": item.input_hash,
            "matter": matter,
        },
    )  # fmt: skip
    return [row[0] for row in rows]


def class_daily(conn: Connection, run: int) -> dict[str, int]:
    """Return the daily Wh of those that were read, by tariff version."""
    rows = conn.execute(_SQL["class_daily"], {"run": run})
    return {row[0]: row[1] // row[2] for row in rows if row[2]}


def uncovered(
    conn: Connection, run: Run, *, end_at: datetime, limit: int
) -> tuple[int, tuple[str, ...]]:
    """Return how many active agreements the run forgot, and a few of them."""
    rows = conn.execute(
        _SQL["uncovered"],
        {
            "run": run.id, "book": run.book, "end": run.period_end, "end_at": end_at,
            "kinds": _METERED, "limit": limit,
        },
    ).fetchall()  # fmt: skip
    return (rows[0][1] if rows else 0), tuple(row[0] for row in rows)


def insert_bills(
    conn: Connection, bills: Sequence[NewBill], entries: Sequence[int | None]
) -> dict[BillKey, BillId]:
    """Insert bills with their entries; return their numbers."""
    rows = conn.execute(
        _SQL["insert_bills"],
        {
            "runs": [b.run for b in bills], "agreements": [b.agreement for b in bills],
            "accounts": [b.account for b in bills], "usage_points": [b.usage_point for b in bills],
            "currencies": [b.currency for b in bills], "starts": [b.period_start for b in bills],
            "ends": [b.period_end for b in bills], "kinds": [b.kind.value for b in bills],
            "seqs": [b.seq for b in bills], "usages": [b.usage for b in bills],
            "versions": [",".join(b.versions) for b in bills],
            "hashes": [b.input_hash for b in bills], "kernels": [b.kernel_version for b in bills],
            "qualities": [b.quality for b in bills], "methods": [b.method for b in bills],
            "start_whs": [b.start_wh for b in bills], "end_whs": [b.end_wh for b in bills],
            "energies": [b.energy_wh for b in bills],
            "lines": [lines_as_text(b.lines) for b in bills],
            "totals": [b.total_micros for b in bills], "posted": [b.posted_micros for b in bills],
            "entries": list(entries), "corrects": [b.corrects for b in bills],
            "reasons": [b.reason for b in bills], "issued": [b.issued_at for b in bills],
            "dues": [b.due_on for b in bills], "actors": [b.actor for b in bills],
        },
    )  # fmt: skip
    return {(row[1], row[2], row[3], row[4], row[5]): BillId(row[0]) for row in rows}


def highest_seqs(
    conn: Connection, accounts: Sequence[str]
) -> dict[tuple[str, date, date, str], int]:
    """Return the highest seq used by (account, period, kind)."""
    rows = conn.execute(_SQL["next_seqs"], {"accounts": list(accounts)})
    return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}


def bills_by_id(conn: Connection, bills: Sequence[int]) -> list[Bill]:
    """Return the bills named, in order of number."""
    return [_bill(row) for row in conn.execute(_SQL["bills_by_id"], {"bills": list(bills)})]


def bills_of_account(conn: Connection, account: str, limit: int) -> list[Bill]:
    """Return the newest bills of an account, cancelled ones too."""
    rows = conn.execute(_SQL["bills_of_account"], {"account": account, "limit": limit})
    return [_bill(row) for row in rows]


def bills_of_run(conn: Connection, run: int, *, after: int, limit: int) -> list[Bill]:
    """Return bills of a run, in pages by number."""
    rows = conn.execute(_SQL["bills_of_run"], {"run": run, "after": after, "limit": limit})
    return [_bill(row) for row in rows]


def metered_bills(
    conn: Connection, agreements: Sequence[str], since: date
) -> dict[str, list[Bill]]:
    """Return standing bills of metered time by agreement, oldest first."""
    found: dict[str, list[Bill]] = {}
    rows = conn.execute(
        _SQL["metered_bills"], {"agreements": list(agreements), "since": since, "kinds": _METERED}
    )
    for row in rows:
        found.setdefault(row[2], []).append(_bill(row))
    return found


def lock_agreement(conn: Connection, agreement: str) -> None:
    """Let nobody else correct this agreement's bills until commit."""
    conn.execute(_SQL["lock_agreement"], {"agreement": agreement})


def insert_cancellation(
    conn: Connection, bill: int, kind: CancelKind, *, reason: str, actor: str, approver: str,
    entry: int | None, now: datetime,
) -> None:  # fmt: skip
    """Note that a bill stands no more."""
    conn.execute(
        _SQL["insert_cancellation"],
        {
            "bill": bill, "kind": kind.value, "reason": reason, "actor": actor,
            "approver": approver, "entry": entry, "now": now,
        },
    )  # fmt: skip


def corrected_by(conn: Connection, bill: int) -> BillId | None:
    """Return the bill that took the place of another, or None."""
    row = conn.execute(_SQL["corrected_by"], {"bill": bill}).fetchone()
    return BillId(row[0]) if row else None


def undocumented_bills(conn: Connection, run: int, *, after: int, limit: int) -> list[BillId]:
    """Return bills of a run without a document."""
    rows = conn.execute(_SQL["undocumented_bills"], {"run": run, "after": after, "limit": limit})
    return [BillId(row[0]) for row in rows]


def insert_documents(
    conn: Connection, documents: Sequence[tuple[BillId, str, str, bytes]], now: datetime
) -> None:
    """Insert (bill, language, text, hash) of documents that were made."""
    conn.execute(
        _SQL["insert_documents"],
        {
            "bills": [row[0] for row in documents], "languages": [row[1] for row in documents],
            "contents": [row[2] for row in documents],
            "hashes": [row[3] for row in documents], "now": now,
        },
    )  # fmt: skip


def document_of(conn: Connection, bill: int) -> tuple[str, str, bytes] | None:
    """Return language, text and hash of a bill's document, or None."""
    row = conn.execute(_SQL["document_of"], {"bill": bill}).fetchone()
    return (row[0], row[1], bytes(row[2])) if row else None


def sheet_lines(conn: Connection, run: int) -> tuple[SheetLine, ...]:
    """Return the totals of a run by tariff and line."""
    return tuple(
        SheetLine(
            tariff=row[0], line=row[1], ledger_code=row[2], currency=row[3], accounts=row[4],
            energy_wh=int(row[5]), amount_micros=int(row[6]),
        )
        for row in conn.execute(_SQL["sheet_lines"], {"run": run})
    )  # fmt: skip


def owed_lines(conn: Connection, run: int) -> list[tuple[str, str, int]]:
    """Return (ledger code, currency, micros) of bills that were owed whole."""
    rows = conn.execute(_SQL["owed_lines"], {"run": run})
    return [(row[0], row[1], int(row[2])) for row in rows]


def drawn_totals(conn: Connection, run: int) -> list[tuple[str, int]]:
    """Return (currency, micros) that bills of drawn accounts moved."""
    return [(row[0], int(row[1])) for row in conn.execute(_SQL["drawn_totals"], {"run": run})]


def ledger_totals(conn: Connection, run: int) -> list[tuple[str, str, int]]:
    """Return (account code, currency, micros) the ledger booked for a run's bills."""
    rows = conn.execute(_SQL["ledger_totals"], {"run": run})
    return [(row[0], row[1], int(row[2])) for row in rows]


def drawn_days(conn: Connection, agreements: Sequence[str], start: date, end: date) -> DrawnDays:
    """Return (open day, drawn micros, first and last register) of prepaid agreements."""
    rows = conn.execute(
        _SQL["drawn_days"], {"agreements": list(agreements), "start": start, "end": end}
    )
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def _run(row: Sequence[Any]) -> Run:
    return Run(
        id=RunId(row[0]), book=row[1], period_start=row[2], period_end=row[3], seq=row[4],
        stage=Stage(row[5]), gate=Gate(**row[6]), opened_by=row[7], zone=ZoneInfo(row[8]),
    )  # fmt: skip


def _agreement(row: Sequence[Any]) -> Agreement:
    return Agreement(
        agreement=row[0], account=row[1], usage_point=row[2], currency=row[3], tariff_code=row[4],
        pinned_hash=row[5], attributes=_attributes(row[6]), started_at=row[7],
        opening_register_wh=row[8], opening_year_wh=row[9],
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _attributes(text: str) -> Mapping[str, str]:
    """Return attributes read once for all agreements that state the same."""
    return MappingProxyType(json.loads(text))


def _item(row: Sequence[Any]) -> Item:
    return Item(
        run=RunId(row[0]), agreement=row[1], account=row[2], usage_point=row[3], currency=row[4],
        kind=BillKind(row[5]), state=ItemState(row[6]), reasons=tuple(row[7]), detail=row[8],
        period_start=row[9], period_end=row[10], usage=row[11], versions=tuple(row[12]),
        input_hash=bytes(row[13]) if row[13] is not None else None, quality=row[14],
        method=row[15], start_wh=row[16], end_wh=row[17], energy_wh=row[18],
        credits=tuple(BillId(bill) for bill in row[19]), drawn_micros=row[20],
        lines=lines_from_text(row[21]), total_micros=row[22], closing_micros=row[23],
        accepted_by=row[24], bill=BillId(row[25]) if row[25] is not None else None,
        facts=bytes(row[26]) if row[26] is not None else None,
    )  # fmt: skip


def _bill(row: Sequence[Any]) -> Bill:
    return Bill(
        id=BillId(row[0]), run=RunId(row[1]) if row[1] is not None else None, agreement=row[2],
        account=row[3], usage_point=row[4], currency=row[5], period_start=row[6],
        period_end=row[7], kind=BillKind(row[8]), seq=row[9], usage=row[10],
        versions=tuple(row[11]), input_hash=bytes(row[12]), kernel_version=row[13],
        quality=row[14], method=row[15], start_wh=row[16], end_wh=row[17], energy_wh=row[18],
        lines=lines_from_text(row[19]), total_micros=row[20], posted_micros=row[21],
        entry_id=row[22], corrects=BillId(row[23]) if row[23] is not None else None,
        reason=row[24], issued_at=row[25], due_on=row[26], actor=row[27], cancelled=row[28],
    )  # fmt: skip
