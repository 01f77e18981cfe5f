"""
The cycle: freeze, validate, price, approve, post, document, total, close.

Every stage works in chunks that commit alone and looks only for what it has not done yet, so it can
be killed and repeated at any moment; the stage is written when nothing of it is left.
`advance` goes on until a stage waits for people. Two that advance one run take turns.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from billing.bills import store
from billing.bills.model import (
    MAIN_BOOK,
    STAGES,
    Advanced,
    CancelKind,
    Doubt,
    Gate,
    Item,
    ItemState,
    Progress,
    Refusal,
    Run,
    RunId,
    Sheet,
    Stage,
)
from billing.bills.rules import gate as hilow
from billing.bills.rules import legs
from billing.bills.rules.pinned import Priced, price_many
from billing.bills.service import blocked, documents, inputs, posting
from billing.money import to_text
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError

CHUNK = 10_000
EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One stage's turn at a run."""

    db: Database
    run: Run
    now: datetime
    progress: Progress


def _silent(_stage: str, _done: int, _of: int) -> None:
    """Tell nobody."""


def open_run(
    db: Database, *, start: date, end: date, zone: ZoneInfo, actor: str, now: datetime,
    book: str = MAIN_BOOK, gate: Gate | None = None,
) -> Run:  # fmt: skip
    """
    Return the run of a book and period, opened now unless it stands.

    After a run is closed, opening the same period again begins one for what was parked.
    Raises: RefusedError `bills.run_period` when the period is empty or not over.
    """
    if end <= start or datetime.combine(end, time(0), zone) > now:
        raise RefusedError(
            Refusal.RUN_PERIOD,
            f"the period {start} to {end} is empty or not over",
            fix="name a first day and the day after the last, both past",
        )
    with db.transaction() as conn:
        standing = store.runs_of_period(conn, book, start, end)
        if standing and standing[-1].stage is not Stage.CLOSED:
            return standing[-1]
        seq = len(standing) + 1
        store.insert_run(
            conn, book=book, start=start, end=end, seq=seq, zone=zone.key, gate=gate or Gate(),
            actor=actor, now=now,
        )  # fmt: skip
        run = store.runs_of_period(conn, book, start, end)[-1]
        audit.record(
            conn, at=now, actor=actor, action="bills.open_run", entity="bill_run",
            entity_id=str(run.id), after={"book": book, "start": str(start), "end": str(end)},
        )  # fmt: skip
        return run


def assign_book(db: Database, accounts: list[str], book: str, *, actor: str, now: datetime) -> None:
    """Bill these accounts together from now on."""
    with db.transaction() as conn:
        store.assign_book(conn, accounts, book, actor, now)
        audit.record(
            conn, at=now, actor=actor, action="bills.assign_book", entity="bill_book",
            entity_id=book, after={"accounts": accounts},
        )  # fmt: skip


def run_of(conn: Connection, run: int) -> Run:
    """Return a run. Raises: RefusedError `bills.run_unknown`."""
    found = store.run_by_id(conn, run)
    if found is None:
        raise RefusedError(Refusal.RUN_UNKNOWN, f"there is no run {run}", fix="bill show --runs")
    return found


def advance(
    db: Database, run: int, *, now: datetime, progress: Progress = _silent,
    until: Stage = Stage.TOTALLED,
) -> Advanced:  # fmt: skip
    """
    Move a run on, stage by stage, up to `until` or to where it waits for people.

    Closing is an act of its own (`close`). Raises: RefusedError `bills.run_unknown`.
    """
    with db.transaction() as conn:
        found = run_of(conn, run)
    while STAGES.index(found.stage) < STAGES.index(min(until, Stage.TOTALLED, key=STAGES.index)):
        following = STAGES[STAGES.index(found.stage) + 1]
        if not _WORK[following](_Turn(db=db, run=found, now=now, progress=progress)):
            break
        with db.transaction() as conn:
            if store.lock_run(conn, found.id) is found.stage:
                store.set_stage(conn, found.id, following, now)
        progress(following.value, 1, 1)
        with db.transaction() as conn:
            found = run_of(conn, run)
    with db.transaction() as conn:
        states = store.count_states(conn, found.id)
        waits = [state for state in ("held", "approval") if states.get(state)]
        return Advanced(run=found, states=states, waiting=waits[0] if waits else "")


def _freeze(turn: _Turn) -> bool:
    run = turn.run
    after, done = "", 0
    while True:
        with turn.db.transaction() as conn:
            store.lock_run(conn, run.id)
            named = store.unfrozen_agreements(
                conn, run, end_at=_ends_at(run), after=after, limit=CHUNK
            )
            if not named:
                return True
            store.insert_items(conn, run.id, inputs.freeze(conn, run, named))
            after, done = named[-1].agreement, done + len(named)
        turn.progress("freeze", done, done)


def _validate(turn: _Turn) -> bool:
    run = turn.run

    def doubtful(conn: Connection, items: list[Item]) -> None:
        history = store.metered_bills(
            conn, [item.agreement for item in items], run.period_start - inputs.HISTORY
        )
        changes = []
        for item, block in zip(items, blocked.blocks_of(conn, items), strict=True):
            found = hilow.doubts(
                energy_wh=item.energy_wh, start=item.period_start, end=item.period_end,
                quality=item.quality, history=history.get(item.agreement, []), gate=run.gate,
            )  # fmt: skip
            if block is not None:
                found.append(Doubt.BLOCKED)
            state = ItemState.HELD if found else ItemState.READY
            detail = item.detail if block is None else blocked.told(block)
            changes.append((item.agreement, state, found, detail))
        store.set_states(conn, run.id, changes)

    return _each_chunk(turn, ItemState.FROZEN, doubtful, "validate")


def _price(turn: _Turn) -> bool:
    run = turn.run

    def priced(conn: Connection, items: list[Item]) -> None:
        versions = inputs.versions_of(conn, [digest for item in items for digest in item.versions])
        found = price_many([(item.usage, item.versions) for item in items], versions)
        store.set_prices(
            conn, run.id,
            [_with_price(run, item, price) for item, price in zip(items, found, strict=True)],
        )  # fmt: skip

    return _each_chunk(turn, ItemState.READY, priced, "price")


def _with_price(run: Run, item: Item, priced: Priced | RefusedError) -> Item:
    if isinstance(priced, RefusedError):
        return replace(
            item, state=ItemState.PARKED, reasons=(priced.refusal.value,), detail=priced.message
        )
    item = replace(
        item, lines=priced.lines, total_micros=priced.total_micros,
        closing_micros=priced.closing_micros, state=ItemState.PRICED, reasons=(),
    )  # fmt: skip
    if item.drawn_micros is not None:
        left = priced.total_micros - item.drawn_micros
        if left != priced.closing_micros:
            return replace(
                item, state=ItemState.PARKED, reasons=(Refusal.DRAWN.value,),
                detail=f"the bill is {to_text(priced.total_micros)}, drawn were "
                f"{to_text(item.drawn_micros)}, the close adds {to_text(priced.closing_micros)}",
            )  # fmt: skip
    if abs(priced.total_micros) > run.gate.two_people_micros:
        return replace(item, state=ItemState.APPROVAL, reasons=("amount.two_people",))
    return item


def _approve(turn: _Turn) -> bool:
    """Price what was let pass since; the stage is over when nothing waits for people."""
    with turn.db.transaction() as conn:
        store.lock_run(conn, turn.run.id)
        blocked.freeze_again(conn, turn.run)
    _validate(turn)
    _price(turn)
    with turn.db.transaction() as conn:
        states = store.count_states(conn, turn.run.id)
    return not any(states.get(state) for state in ("frozen", "held", "ready", "approval"))


def _post(turn: _Turn) -> bool:
    run, now = turn.run, turn.now

    def posted(conn: Connection, items: list[Item]) -> None:
        same = inputs.still_the_same(conn, run, items)
        changed = [item for item, kept in zip(items, same, strict=True) if not kept]
        store.set_states(
            conn, run.id,
            [
                (item.agreement, ItemState.PARKED, [Refusal.CHANGED.value],
                 "a register, tariff or bill changed since the freeze")
                for item in changed
            ],
        )  # fmt: skip
        agreed = [item for item, kept in zip(items, same, strict=True) if kept]
        barred = blocked.blocks_of(conn, agreed)
        store.set_states(
            conn, run.id,
            [
                (item.agreement, ItemState.PARKED, [Doubt.BLOCKED.value], blocked.told(block))
                for item, block in zip(agreed, barred, strict=True)
                if block is not None
            ],
        )  # fmt: skip
        agreed = [item for item, block in zip(agreed, barred, strict=True) if block is None]
        credited = [bill for item in agreed for bill in item.credits]
        for bill in store.bills_by_id(conn, credited) if credited else ():
            posting.withdraw(
                conn, bill, CancelKind.TRUEUP, reason="true-up of estimates",
                actor="system:bills", now=now,
            )  # fmt: skip
        if agreed:
            ids = posting.issue(
                conn, [posting.new_bill(item, run, seq=1, now=now) for item in agreed],
                drawn=[item.drawn_micros is not None for item in agreed], now=now,
            )  # fmt: skip
            store.set_billed(
                conn, run.id,
                [(item.agreement, bill) for item, bill in zip(agreed, ids, strict=True)],
            )  # fmt: skip
        audit.record(
            conn, at=now, actor="system:bills", action="bills.post", entity="bill_run",
            entity_id=str(run.id), after={"bills": len(agreed), "changed": len(changed)},
        )  # fmt: skip

    return _each_chunk(turn, ItemState.PRICED, posted, "post")


def _each_chunk(
    turn: _Turn, state: ItemState, work: Callable[[Connection, list[Item]], None], name: str
) -> bool:
    run, done = turn.run, 0
    # counted once, for who looks on: a count reads every item, chunks would read them squared
    with turn.db.transaction() as conn:
        waiting = store.count_states(conn, run.id).get(state.value, 0)
    while True:
        with turn.db.transaction() as conn:
            # one order of locks for everybody: those who post take all open runs, by number
            if state is ItemState.PRICED:
                store.lock_open_runs(conn)
            store.lock_run(conn, run.id)
            items = store.items_in_state(conn, run.id, state, after="", limit=CHUNK)
            if not items:
                return True
            work(conn, items)
            done += len(items)
        turn.progress(name, done, max(done, waiting))


def _document(turn: _Turn) -> bool:
    return documents.make(turn.db, turn.run, now=turn.now, progress=turn.progress)


def _total(turn: _Turn) -> bool:
    """Raises: RefusedError `bills.totals_differ` while bills and ledger differ."""
    run = turn.run
    with turn.db.transaction() as conn:
        sheet = sheet_of(conn, run)
    turn.progress("total", 1, 1)
    if not sheet.equal:
        wrong = sorted(set(sheet.billed.items()) ^ set(sheet.ledger.items()))
        raise RefusedError(
            Refusal.RUN_TOTALS,
            f"bills and ledger of run {run.id} differ in {wrong[0][0]}",
            fix="bill show --run ID prints both; nothing is closed until they agree",
        )
    return True


_WORK: dict[Stage, Callable[[_Turn], bool]] = {
    Stage.FROZEN: _freeze,
    Stage.VALIDATED: _validate,
    Stage.PRICED: _price,
    Stage.APPROVED: _approve,
    Stage.POSTED: _post,
    Stage.DOCUMENTED: _document,
    Stage.TOTALLED: _total,
}


def sheet_of(conn: Connection, run: Run) -> Sheet:
    """Return the totals sheet of a run beside the ledger's own totals."""
    billed: dict[str, int] = {}
    for ledger_code, currency, amount in store.owed_lines(conn, run.id):
        _add(billed, f"{legs.account_of(ledger_code)[0]} {currency}", amount)
    for currency, amount in store.drawn_totals(conn, run.id):
        _add(billed, f"revenue_energy {currency}", amount)
    booked: dict[str, int] = {}
    for code, currency, amount in store.ledger_totals(conn, run.id):
        _add(booked, f"{code} {currency}", amount)
    count, names = store.uncovered(conn, run, end_at=_ends_at(run), limit=EXAMPLES)
    return Sheet(
        lines=store.sheet_lines(conn, run.id),
        billed={code: amount for code, amount in sorted(billed.items()) if amount},
        ledger={code: amount for code, amount in sorted(booked.items()) if amount},
        states=store.count_states(conn, run.id), uncovered=names, uncovered_count=count,
    )  # fmt: skip


def close(db: Database, run: int, *, actor: str, now: datetime) -> Sheet:
    """
    Close a run whose totals agree and that forgot nobody; the sheet's hash is kept with it.

    Raises: RefusedError `bills.run_still_open`, `bills.run_incomplete`, `bills.totals_differ`.
    """
    with db.transaction() as conn:
        found = run_of(conn, run)
        stage = store.lock_run(conn, found.id)
        sheet = sheet_of(conn, found)
        if stage is Stage.CLOSED:
            return sheet
        if stage is not Stage.TOTALLED:
            raise RefusedError(
                Refusal.RUN_OPEN, f"run {run} has come to {stage}", fix="bill run --run ID goes on"
            )
        if sheet.uncovered_count:
            raise RefusedError(
                Refusal.RUN_INCOMPLETE,
                f"{sheet.uncovered_count} active accounts have no bill, hold or exception: "
                f"{', '.join(sheet.uncovered)}",
                fix="bill run --run ID --refreeze takes them in",
            )
        if not sheet.equal:
            raise RefusedError(
                Refusal.RUN_TOTALS, f"bills and ledger of run {run} differ", fix="bill show --run"
            )
        digest = hashlib.sha256(
            json.dumps(asdict(sheet), sort_keys=True, default=str).encode()
        ).digest()
        store.set_stage(conn, found.id, Stage.CLOSED, now, closed_by=actor, sheet_hash=digest)
        audit.record(
            conn, at=now, actor=actor, action="bills.close_run", entity="bill_run",
            entity_id=str(run), after={"billed": sheet.billed, "sheet": digest.hex()},
        )  # fmt: skip
        return sheet


def _ends_at(run: Run) -> datetime:
    return datetime.combine(run.period_end, time(0), run.zone)


def _add(sums: dict[str, int], key: str, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount


def reopen(db: Database, run: RunId, *, actor: str, now: datetime) -> Run:
    """
    Send a run back to its freeze, for accounts that were forgotten, parked or changed.

    What is billed stays billed. Raises: RefusedError `bills.run_closed`.
    """
    with db.transaction() as conn:
        found = run_of(conn, run)
        if store.lock_run(conn, run) is Stage.CLOSED:
            raise RefusedError(
                Refusal.RUN_CLOSED, f"run {run} is closed", fix="open the period again"
            )
        parked: list[str] = []
        while items := store.items_in_state(
            conn, run, ItemState.PARKED, after=parked[-1] if parked else "", limit=CHUNK
        ):
            named = [item.agreement for item in items]
            parked += named
            agreements = store.agreements_named(conn, named)
            store.insert_items(conn, run, inputs.freeze(conn, found, agreements))
        store.set_stage(conn, run, Stage.OPENED, now)
        audit.record(
            conn, at=now, actor=actor, action="bills.reopen_run", entity="bill_run",
            entity_id=str(run), after={"parked": len(parked)},
        )  # fmt: skip
        return run_of(conn, run)
