"""
Payments a second at 16 clients, each sent and repeated, beside bare INSERTs in the same run.

    python tests/benchmarks/money_payments.py [--json] [--payments 2000] [--durable]

Every payment is sent twice: the repeat must find its receipt. The reference commits one row with a
unique key for each payment, over the same clients. Nothing is asserted but that money is conserved.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from billing.ledger import service as ledger
from billing.payments import service as payments
from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from tests.integration.billing_kit import ORIGIN, YUAN, customer, order, rows, street

CLIENTS, PROCESSES, PEOPLE = 16, 2, 400
BARE = (
    "CREATE TABLE public.bare (channel text, txn text, account text, amount bigint,"
    " at timestamptz, PRIMARY KEY (channel, txn))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one of the processes sends."""

    dsn: str
    numbers: tuple[int, ...]


def pay(share: Share) -> float:
    """Send each payment, then each again; return the seconds of the first sends alone."""
    clients = CLIENTS // PROCESSES
    with Database(share.dsn, user="meterloop_portal", size=clients) as db:

        def send(n: int) -> bool:
            wanted = order(n % PEOPLE + 1, f"t-{n}", 1)
            return payments.pay(db, wanted, now=ORIGIN).replayed

        return _timed(clients, send, share.numbers, again=True)


def insert(share: Share) -> float:
    """Commit one bare row for each payment."""
    clients = CLIENTS // PROCESSES
    with Database(share.dsn, size=clients) as db:

        def send(n: int) -> bool:
            with db.transaction() as conn:
                conn.execute(
                    "INSERT INTO public.bare VALUES ('bank', %s, %s, %s, %s)",
                    (f"t-{n}", f"AC-{n % PEOPLE + 1:06}", YUAN, ORIGIN),
                )
            return False

        return _timed(clients, send, share.numbers, again=False)


def processor(server: psutil.Process) -> float:
    """Return processor seconds of a server, of the processes that send, and of those over."""
    mine, spent = psutil.Process(), 0.0
    for each in {server, mine, *server.children(), *mine.children()}:
        with suppress(psutil.NoSuchProcess):  # it is over: its parent counts it
            times = each.cpu_times()
            spent += times.user + times.system
    over = server.cpu_times()
    return spent + over.children_user + over.children_system


def _postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])


def _timed(
    clients: int, send: Callable[[int], bool], numbers: tuple[int, ...], *, again: bool
) -> float:
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        assert not any(pool.map(send, numbers))
        seconds = time.perf_counter() - started
        if again:
            assert all(pool.map(send, numbers))
    return seconds


def figures(count: int, *, durable: bool) -> dict[str, Any]:
    """Measure both on one fresh cluster and prove that every payment was taken once."""
    with tempfile.TemporaryDirectory(prefix="ml-bench-") as folder:
        with EmbeddedPostgres(Cluster(folder=Path(folder), durable=durable)) as server:
            migrate(server.dsn)
            with Database(server.dsn) as db:
                street(db, *(customer(n, opening_balance_micros=0) for n in range(1, PEOPLE + 1)))
                with db.transaction() as conn:
                    conn.execute(BARE)
                shares = [
                    Share(dsn=server.dsn, numbers=tuple(range(start, count, PROCESSES)))
                    for start in range(PROCESSES)
                ]
                leader = psutil.Process(_postmaster(Path(folder)))
                with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
                    bare = max(pool.map(insert, shares))
                    before = processor(leader)
                    sent = pool.map(pay, shares)
                    spent = processor(leader) - before
                    taken = max(sent)
                [(total,)] = rows(
                    db, "SELECT sum(posted_micros) FROM ledger.customer_balance"
                )  # fmt: skip
                assert total == count * YUAN, "money was lost or made"
                started = time.perf_counter()
                sealed = ledger.seal(db, now=ORIGIN)
                sealing = time.perf_counter() - started
                assert ledger.audit_book(db).violations == 0
    return {
        "clients": CLIENTS, "payments": count, "durable": durable,
        "payments_per_second": round(count / taken),
        "bare_inserts_per_second": round(count / bare),
        # both sends of each, so of a payment alone it is a little less
        "processor_ms_a_payment_and_its_repeat": round(1000 * spent / count, 2),
        "bare_over_payments": round(taken / bare, 1),
        "entries_sealed_per_second": round(sealed / sealing),
    }  # fmt: skip


def main() -> None:
    """Print the figures as lines, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=2_000)
    parser.add_argument("--durable", action="store_true", help="wait for the disk at each commit")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = figures(chosen.payments, durable=chosen.durable)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):<28} {value}")


if __name__ == "__main__":
    main()
