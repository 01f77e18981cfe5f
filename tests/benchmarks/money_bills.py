"""
Figures of the bill run: registers in PostgreSQL to bills posted, totalled and equal to the ledger.

Two hundred thousand households (`--accounts`) of one book on a tariff of an annual ladder, a
standing charge and a tax. Each stage is timed as the use case that does it; beside it, in the same
run, a bare insert of as many rows of the bill table's size. Pages are printed one by one, by one
process and by two.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import psycopg

from billing.bills import store
from billing.bills.model import Stage
from billing.bills.rules.pinned import canonical_usage, price_many
from billing.bills.service import documents, page
from billing.bills.service import run as runs
from billing.bills.service.inputs import versions_of
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from tests.integration.bills_kit import FEB, JAN, NOW, TARIFF, ZONE

PUBLISHED = NOW.replace(year=2019)
PAGES = 100
_WARM = 10_000

_FILL = (
    """INSERT INTO customers.customer (id, name, kind, language, phone, registered_at)
       VALUES ('CU', 'Wang', 'household', 'zh', '+8613800000000', now())""",
    """INSERT INTO customers.account (id, customer, currency, opened_at)
       SELECT 'AC-' || n, 'CU', 'CNY', now() FROM generate_series(1, %(n)s::int) AS n""",
    """INSERT INTO customers.agreement (id, account, usage_point, tariff_code, started_at,
                                        opening_register_wh, content)
       SELECT 'SA-' || n, 'AC-' || n, 'UP-' || n, 'book-household', '2025-12-31T16:00:00Z',
              1000000, ''
       FROM generate_series(1, %(n)s::int) AS n""",
    "SELECT ingest.open_day(date '2026-01-31', '2026-01-31')",
    """INSERT INTO ingest.series (meter, channel, seconds)
       SELECT 'M-' || n, 1, 0 FROM generate_series(1, %(n)s::int) AS n""",
    """INSERT INTO ingest.reading (series, at, wh, status, received_at, batch)
       SELECT s.no, '2026-01-31T15:50:00Z'::timestamptz,
              1000000 + 10 * (substr(s.meter, 3)::int %% 90000), 0, '2026-01-31T15:51:00Z', 0
       FROM ingest.series AS s""",
    """INSERT INTO usage.segment (usage_point, meter, since, until, offset_wh, lone, known_at)
       SELECT 'UP-' || n, 'M-' || n, '2020-01-01', 'infinity', 0, true, '2020-01-01'
       FROM generate_series(1, %(n)s::int) AS n""",
)
_BARE = "CREATE TABLE public.bare AS SELECT b.* FROM bills.bill AS b"


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=200_000)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ml-bench-") as folder,
        EmbeddedPostgres(Cluster(folder=Path(folder))) as server,
    ):
        migrate(server.dsn)
        with Database(server.dsn, application="bench") as db:
            print(json.dumps(measured(db, server.dsn, asked.accounts), indent=1))


def measured(db: Database, dsn: str, accounts: int) -> dict[str, Any]:
    """Return seconds of each stage and what they come to."""
    rating.publish(db, json.dumps(TARIFF).encode(), actor="user:bench", now=PUBLISHED)
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in _FILL:
            conn.execute(statement, {"n": accounts})
        conn.execute("VACUUM ANALYZE")
    compiled = _compiled(db)
    run = runs.open_run(db, start=JAN, end=FEB, zone=ZONE, actor="user:bench", now=NOW)
    seconds = {}
    whole, cpu = time.perf_counter(), _cpu(dsn)
    for stage in (Stage.FROZEN, Stage.VALIDATED, Stage.PRICED, Stage.APPROVED, Stage.POSTED):
        start = time.perf_counter()
        moved = runs.advance(db, run.id, now=NOW, until=stage)
        seconds[stage.value] = round(time.perf_counter() - start, 2)
    assert moved.states == {"billed": accounts}, moved.states
    start = time.perf_counter()
    with db.transaction() as conn:
        sheet = runs.sheet_of(conn, run)
    seconds["totals"] = round(time.perf_counter() - start, 2)
    assert sheet.equal
    total, spent = time.perf_counter() - whole, _cpu(dsn) - cpu
    start = time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_BARE)
    bare = time.perf_counter() - start
    return {
        "machine": platform.platform(), "day": str(date.today()), "bills": accounts,
        "seconds": seconds, "priced, posted and totalled, s": round(total, 1),
        "bills a second": round(accounts / total),
        "processor time of both sides, s": round(spent, 1),
        "bills a second of processor time": round(accounts / spent),
        "kernel compiled once a process, s": round(compiled, 1),
        "bare insert of the same bill rows, s": round(bare, 2),
        "peak memory of this process, MiB": (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        ),
        **_pages(db, run.id),
    }  # fmt: skip


def _compiled(db: Database) -> float:
    """Price a few thousand, so that what is compiled once a process is not counted as bills."""
    with db.transaction() as conn:
        [digest] = [found for found, _ in tariffs.versions(conn, TARIFF["code"])]
        versions = versions_of(conn, [digest])
    usage = canonical_usage(TARIFF["test_cases"][0]["usage"])
    start = time.perf_counter()
    price_many([(usage, [digest])] * _WARM, versions)
    return time.perf_counter() - start


def _cpu(dsn: str) -> float:
    """Return the processor time of this process and of the server: wall time tells the load too."""
    with psycopg.connect(dsn) as conn:
        [(leader,)] = conn.execute(
            "SELECT pg_read_file('postmaster.pid', 0, 20)"
        ).fetchall()  # the first line is the process that all others come from
    server = psutil.Process(int(leader.split()[0]))
    known = 0.0
    for each in (server, *server.children()):
        with suppress(psutil.NoSuchProcess):  # it is over: its parent counts it
            times = each.cpu_times()
            known += times.user + times.system
    over = server.cpu_times()
    return time.process_time() + known + over.children_user + over.children_system


def _size(text: str) -> int:
    return len(page.pdf_of(text))


def _pages(db: Database, run: int) -> dict[str, Any]:
    with db.transaction() as conn:
        found = runs.run_of(conn, run)
        bills = store.bills_of_run(conn, run, after=0, limit=PAGES)
        start = time.perf_counter()
        documents.write(conn, bills, zone=found.zone, now=NOW)
        written = time.perf_counter() - start
        texts = [documents.kept_text(conn, bill.id) for bill in bills]
    page.pdf_of(texts[0])
    start = time.perf_counter()
    size = sum(len(page.pdf_of(text)) for text in texts)
    printed = time.perf_counter() - start
    # each worker prints one as it begins, so that its fonts are read
    with multiprocessing.get_context("spawn").Pool(2, _size, texts[:1]) as pool:
        pool.map(_size, texts[:8], chunksize=1)
        start = time.perf_counter()
        pool.map(_size, texts, chunksize=10)
        by_two = time.perf_counter() - start
    return {
        "documents and messages a second": round(len(bills) / written),
        "PDFs a second, one process": round(len(texts) / printed, 1),
        "PDFs a second, two processes": round(len(texts) / by_two, 1),
        "bytes a PDF": size // len(texts),
    }


if __name__ == "__main__":
    main()
