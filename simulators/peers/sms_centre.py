"""
A centre that sends text messages: accepts, keeps every message, and is as unreliable as they are.

By seed it turns the first try of some messages away, and loses the answer to others after it has
taken them; whoever repeats with the same id is answered as before and the phone rings once.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from simulators.load import key_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sms (
    id TEXT PRIMARY KEY, "to" TEXT NOT NULL, text TEXT NOT NULL, at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempt (id TEXT PRIMARY KEY, tries INTEGER NOT NULL) WITHOUT ROWID;
"""
_TURNED_AWAY = 0
_ANSWER_LOST = 1
_OF = 12


class SmsOrder(BaseModel):
    """A message as posted."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1, max_length=100)
    to: str = Field(min_length=3, max_length=40)
    text: str = Field(min_length=1, max_length=2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sms:
    """A message as kept; `at_ms` is business time."""

    id: str
    to: str
    text: str
    at_ms: int


class SmsStore:
    """Keeps messages in a file; a message taken is a message kept, also over a kill."""

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(_SCHEMA)

    def tries(self, message: str) -> int:
        """Count one more try of a message and return how many that makes."""
        row = self._connection.execute(
            "INSERT INTO attempt VALUES (?, 1) "
            "ON CONFLICT (id) DO UPDATE SET tries = tries + 1 RETURNING tries",
            (message,),
        ).fetchone()
        return int(row[0])

    def keep(self, sms: Sms) -> Sms:
        """Keep a message once; return what is kept under its id."""
        self._connection.execute(
            "INSERT OR IGNORE INTO sms VALUES (?, ?, ?, ?)", (sms.id, sms.to, sms.text, sms.at_ms)
        )
        found = self.find(sms.id)
        assert found is not None  # just inserted
        return found

    def find(self, message: str) -> Sms | None:
        """Return one message, if it was taken."""
        row = self._connection.execute(
            'SELECT id, "to", text, at_ms FROM sms WHERE id = ?', (message,)
        ).fetchone()
        return None if row is None else Sms(id=row[0], to=row[1], text=row[2], at_ms=row[3])

    def sent_to(self, phone: str | None = None) -> list[Sms]:
        """Return the messages to a phone, or all, in order of time."""
        rows = self._connection.execute(
            'SELECT id, "to", text, at_ms FROM sms WHERE ? IS NULL OR "to" = ? ORDER BY at_ms, id',
            (phone, phone),
        )
        return [Sms(id=row[0], to=row[1], text=row[2], at_ms=row[3]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def create_sms_app(
    store: SmsStore, *, seed: int, now_ms: Callable[[], int], steady: bool = False
) -> FastAPI:
    """Return the centre's HTTP face; `steady` switches its moods off."""
    app = FastAPI(title="Simulated SMS centre", openapi_url=None)

    # coroutines, not functions: everything stays on the one thread that owns the store
    @app.post("/messages", status_code=202)
    async def post_message(order: SmsOrder, response: Response) -> dict[str, str]:
        first = store.tries(order.id) == 1
        mood = key_of(seed, "sms", order.id) % _OF
        if first and mood == _TURNED_AWAY and not steady:
            raise HTTPException(503, "the centre is busy; send again with the same id")
        known = store.find(order.id)
        if known is not None and (known.to, known.text) != (order.to, order.text):
            raise HTTPException(409, f"message {order.id} was sent before with another text")
        store.keep(Sms(id=order.id, to=order.to, text=order.text, at_ms=now_ms()))
        if first and mood == _ANSWER_LOST and not steady:
            raise HTTPException(504, "taken, but the answer is lost on its way")
        response.headers["Location"] = f"/messages/{order.id}"
        return {"id": order.id, "state": "accepted"}

    @app.get("/messages/{message}")
    async def get_message(message: str) -> dict[str, str]:
        if store.find(message) is None:
            raise HTTPException(404, f"no message {message}")
        return {"id": message, "state": "delivered"}

    return app
