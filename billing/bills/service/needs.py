"""
Which intervals billing still needs: what `cloud.ingest` asks before old months are let go.

This is its `StillNeeded`, for cloud knows no money. Read-only.
"""

from datetime import date, datetime, timedelta

from billing.bills.store import needs as store
from cloud.ingest.model import Need
from cloud.store.db import Connection

_DAY = timedelta(days=1)
_WHAT = {
    "unbilled": "agreements whose use is not billed",
    "run": "charges of open bill runs",
    "dispute": "bills in dispute",
}


def needed(conn: Connection, until: date, now: datetime) -> list[Need]:
    """
    Return unbilled agreements, charges of open runs and disputes that need days before `until`.

    A civil day may begin a day before the UTC day of its name, so one day more is asked for.
    """
    return [
        Need(who="billing", what=_WHAT[kind], count=count, first_day=first, example=reference)
        for kind, count, first, reference in store.still_needed(conn, until + _DAY, now.date())
    ]
