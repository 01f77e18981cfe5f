"""
Figures of the prepaid sweep: from states in PostgreSQL to crossings in PostgreSQL.

A million and a half agreements (`--accounts`, ten times as many with `--full`) on one server of
this machine: once all of them, each at a new register, then those 5 % whose registers moved. What
is timed is the use case itself, its enrolment and days included, beside a bare scan of the states
and a bare read of as many rows by COPY in the same run. Processor time of this process and of the
server's is told beside the clock's, for a machine that others use too; `--periods` puts everybody
on a tariff of billing periods.
"""

import argparse
import importlib
import json
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from billing.prepaid import service as prepaid
from billing.rating import service as rating
from billing.rating.model import UseColumns
from billing.rating.rules import kernel
from billing.tariffs import service as tariffs
from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres

ORIGIN = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
CODE = "cq-household-lv"
PERIODS = "cq-household-period"
_WARM = 10_000
FALLING = 1_000
"""One of so many accounts falls through its lines at each register."""

_FILL = (
    """INSERT INTO customers.customer (id, name, kind, language, phone, registered_at)
       VALUES ('CU', 'Wang', 'household', 'zh', '+8613800000000', %(at)s)""",
    """INSERT INTO customers.account (id, customer, currency, opened_at)
       SELECT 'AC-' || n, 'CU', 'CNY', %(at)s FROM generate_series(1, %(n)s::int) AS n""",
    """INSERT INTO customers.agreement (id, account, usage_point, tariff_code, started_at, content)
       SELECT 'SA-' || n, 'AC-' || n, 'UP-' || n, %(code)s, %(at)s, ''
       FROM generate_series(1, %(n)s::int) AS n""",
    """INSERT INTO ledger.account (code, kind, currency, normal, kept, posted_cr)
       SELECT 'AC-' || n, 'customer_prepayment', 'CNY', -1, true,
              CASE WHEN n %% %(falling)s = 0 THEN 20000000 ELSE 500000000 END
       FROM generate_series(1, %(n)s::int) AS n""",
    """INSERT INTO usage.newest (usage_point, at_ms, cumulative_wh, questionable, moved)
       SELECT 'UP-' || n, (extract(epoch FROM %(later)s::timestamptz) * 1000)::bigint,
              1000000 + n %% 30000, false, pg_current_xact_id()
       FROM generate_series(1, %(n)s::int) AS n""",
    """INSERT INTO prepaid.tariff_number (tariff_hash) VALUES (%(digest)s)""",
    """INSERT INTO prepaid.state
           (agreement, account, usage_point, currency, tariff_code, contract_w, segment_seq,
            period, segment_register_wh, segment_year_wh, segment_fee_before_micros, tariff_hash,
            register_wh, register_at, quality, fee_micros, drawn_micros, open_day, day_ends_at,
            day_register_wh, tier, available_micros, swept_at, point, ledger_account_id, tariff_no)
       SELECT 'SA-' || p.n, 'AC-' || p.n, 'UP-' || p.n, 'CNY', %(code)s, 8000, 1, '2026-01-01',
              1000000, p.n %% 2000000, 0, %(digest)s, 1000000, %(at)s, 'actual', 0, 0,
              '2026-03-10', '2026-03-10T16:00:00Z', 1000000, 1,
              CASE WHEN p.n %% %(falling)s = 0 THEN 20000000 ELSE 500000000 END, %(at)s,
              p.point, a.id, 1
       FROM (SELECT w.point, substr(w.usage_point, 4)::int AS n FROM usage.newest AS w) AS p
       JOIN ledger.account AS a ON a.code = 'AC-' || p.n
       ORDER BY p.point""",
    "TRUNCATE prepaid.awaiting",
)


def _postmaster(folder: Path) -> int:
    """Return the process of the server whose data lie in a folder."""
    return int((folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])


def by_periods(dsn: str, accounts: int) -> None:
    """Give every agreement an open stretch of the month."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            """INSERT INTO prepaid.open_stretch
                   (agreement, point, hourly, start_day, shape, before_wh, opened_at, opening_wh,
                    day_at, day_wh, upto_day, energy_wh)
               SELECT s.agreement, s.point, false, '2026-03-01', '{}',
                      jsonb_build_object('calendar_year', jsonb_build_array(s.segment_year_wh)),
                      %(at)s, '{0}', %(at)s, '{0}', '2026-03-11', '{0}'
               FROM prepaid.state AS s""",
            {"at": ORIGIN},
        )
        conn.execute("UPDATE prepaid.state SET period = '2026-03-01'")
        found = conn.execute("SELECT count(*) FROM prepaid.open_stretch").fetchone()
        assert found == (accounts,)
        conn.execute("VACUUM ANALYZE")


def fill(dsn: str, accounts: int, digest: str, code: str) -> None:
    """Make the town: accounts, agreements, money, registers and states as a sweep left them."""
    values = {
        "n": accounts, "at": ORIGIN, "later": ORIGIN + HOUR, "code": code, "falling": FALLING,
        "digest": digest,
    }  # fmt: skip
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in _FILL:
            conn.execute(statement, values)
        conn.execute("VACUUM ANALYZE")


def move(dsn: str, every: int, at: datetime) -> int:
    """Let a new register of every n-th usage point stand in usage; return how many."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        found = conn.execute(
            "UPDATE usage.newest SET cumulative_wh = cumulative_wh + 1000, at_ms = %(ms)s,"
            " moved = pg_current_xact_id() WHERE point %% %(every)s = 0",
            {"every": every, "ms": int(at.timestamp() * 1000)},
        )
        return found.rowcount


def scan(dsn: str) -> dict[str, float]:
    """Return seconds of the least that any sweep could do: read the states at all."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        start = time.perf_counter()
        conn.execute("SELECT sum(fee_micros + register_wh) FROM prepaid.state").fetchone()
        bare = time.perf_counter() - start
        start, columns = time.perf_counter(), "point, register_wh, fee_micros, drawn_micros, tier"
        with (
            conn.cursor() as cursor,
            cursor.copy(f"COPY prepaid.state ({columns}) TO STDOUT (FORMAT BINARY)") as copy,
        ):
            for _ in copy:
                pass
        return {"scan_s": bare, "copy_five_columns_s": time.perf_counter() - start}


def processor(server: psutil.Process) -> tuple[float, float]:
    """Return processor seconds of this process and of a server with all it started."""
    mine = psutil.Process().cpu_times()
    theirs = [server.cpu_times(), *(each.cpu_times() for each in server.children(recursive=True))]
    # a child that is over is counted with its parent
    over = theirs[0].children_user + theirs[0].children_system
    return mine.user + mine.system, over + sum(each.user + each.system for each in theirs)


def timed(
    db: Database, server: psutil.Process, now: datetime, *, moved_only: bool
) -> dict[str, Any]:
    """Return what one sweep did, how long it took, and its parts."""
    marks: list[tuple[str, float]] = []
    start, before = time.perf_counter(), processor(server)
    with _told(marks):
        swept = prepaid.sweep(db, now=now, moved_only=moved_only)
    seconds, after = time.perf_counter() - start, processor(server)
    return {
        "priced": swept.points, "crossings": swept.crossings, "seconds": round(seconds, 3),
        "accounts_per_s": round(swept.points / seconds),
        "processor_s": round(sum(after) - sum(before), 3),
        "processor_here_s": round(after[0] - before[0], 3),
        "processor_server_s": round(after[1] - before[1], 3),
        "parts_s": {name: round(took, 3) for name, took in marks},
    }  # fmt: skip


def warm(db: Database, digest: str) -> None:
    """Price a few thousand, so that what is compiled once a process is not counted as accounts."""
    with db.transaction() as conn:
        tariff = rating.compiled(conn, [digest])[digest]
    few = np.full((len(tariff.periods), _WARM), 100_000, dtype=np.int64)
    kernel.price(tariff, UseColumns(energy_wh=few))


@contextmanager
def _told(marks: list[tuple[str, float]]) -> Iterator[None]:
    """Time the parts of a sweep while it runs: what is enrolled, drawn, screened and written."""
    module = importlib.import_module("billing.prepaid.service.sweep")
    parts = ("enrol", "apply_due", "draw_days", "screen", "_act")
    kept = {name: getattr(module, name) for name in parts}

    def watched(name: str) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return kept[name](*given, **named)
            finally:
                marks.append((name.strip("_"), time.perf_counter() - start))

        return run

    for name in parts:
        setattr(module, name, watched(name))
    try:
        yield
    finally:
        for name in parts:
            setattr(module, name, kept[name])


def figures(accounts: int, *, periods: bool, buffers: str) -> dict[str, Any]:
    """Return every figure of one run."""
    code = PERIODS if periods else CODE
    with (
        tempfile.TemporaryDirectory(prefix="ml-sweep-") as folder,
        EmbeddedPostgres(
            Cluster(folder=Path(folder), durable=False, shared_buffers=buffers)
        ) as server,
    ):
        migrate(server.dsn)
        postmaster = psutil.Process(_postmaster(Path(folder)))
        with Database(server.dsn, application="bench") as db:
            digest = rating.publish(db, tariffs.shipped(code), actor="user:bench", now=ORIGIN)
            fill(server.dsn, accounts, digest, code)
            if periods:
                by_periods(server.dsn, accounts)
            warm(db, digest)
            least = scan(server.dsn)
            every = timed(db, postmaster, ORIGIN + HOUR, moved_only=False)
            move(server.dsn, 20, ORIGIN + 2 * HOUR)
            part = timed(db, postmaster, ORIGIN + 2 * HOUR, moved_only=True)
    times = 15_000_000 / accounts
    return {
        "machine": f"{platform.machine()} python {platform.python_version()}",
        "accounts": accounts, "least": {k: round(v, 3) for k, v in least.items()},
        "every_account": every, "moved_5_percent": part,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "at_15_million": {
            "every_account_s": round(every["seconds"] * times, 1),
            "moved_5_percent_s": round(part["seconds"] * times, 1),
            "every_account_processor_s": round(every["processor_s"] * times, 1),
            "moved_5_percent_processor_s": round(part["processor_s"] * times, 1),
            "measured": times == 1,
        },
    }  # fmt: skip


def main() -> None:
    """Print the figures of one run as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_500_000)
    parser.add_argument("--full", action="store_true", help="ten times as many accounts")
    parser.add_argument("--periods", action="store_true", help="a tariff of billing periods")
    parser.add_argument("--buffers", default="1GB", help="shared memory of the server")
    arguments = parser.parse_args()
    accounts = arguments.accounts * (10 if arguments.full else 1)
    found = figures(accounts, periods=arguments.periods, buffers=arguments.buffers)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
