"""
The road of a figure by hand: a batch of one reading, judged and stored by ingest as any other.

Its batch is numbered when the figure is believed (boot 0 of the meter's concentrator, which no
agent uses), so sending it again after a crash stores nothing twice.
"""

from dataclasses import replace
from datetime import datetime

from cloud.cycles import store
from cloud.cycles.model import Doubt, TaskEvent, TaskState
from cloud.cycles.rules import entries
from cloud.cycles.store import Delivery
from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.ingest.service import Derive
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.identity import BatchId
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, batch_to_plain, columns_of
from protocols.reading import Channel
from protocols.timeline import to_ms

HAND_BOOT = 0
_AT_ONCE = 200


def deliver(db: Database, clock: Clock, *, derive: Derive = usage.derive) -> int:
    """
    Bring believed figures to ingest, oldest first; return how many it got.

    `derive` is what follows from them in the same transaction, as for any reading.

    One that ingest does not believe goes back to review with `not_stored`; its cause stands in the
    quarantine. Raises: TransientDatabaseError; what was brought is brought.
    """
    with db.transaction() as conn:
        waiting = store.deliveries_waiting(conn, _AT_ONCE)
    for one in waiting:
        outcome = ingest.store_batch(db, _arrival(one, clock), derive=derive)
        account = outcome.account
        believed = not outcome.cause and account.stored + account.duplicates == 1
        _note(db, one, believed=believed, now=clock.now())
    return len(waiting)


def _note(db: Database, one: Delivery, *, believed: bool, now: datetime) -> None:
    with db.transaction() as conn:
        task = store.lock_task_alone(conn, one.task)
        if not store.delivered(conn, one, believed=believed, now=now) or believed:
            return
        assert task is not None, "a delivery's task is never deleted"
        if task.state is not TaskState.READ or task.read_at != one.at:
            return  # something else was decided of it meanwhile
        state = entries.move_task(task.state, TaskEvent.DOUBT)
        doubts = (*task.doubts, Doubt.NOT_STORED)
        store.put_task(conn, replace(task, state=state, doubts=doubts))


def _arrival(one: Delivery, clock: Clock) -> Arrival:
    """The same octets each time: everything in them was written when the figure was believed."""
    read_ms = to_ms(one.at)
    batch = DataBatch(
        id=BatchId(concentrator=one.concentrator, boot=HAND_BOOT, seq=one.seq),
        made_at=one.queued_at, meters=(one.meter,),
        columns=columns_of(
            {
                "meter": [0], "channel": [int(Channel.IMPORT_WH)], "at_ms": [read_ms],
                "seconds": [0], "received_ms": [max(read_ms, to_ms(one.queued_at))],
                "raw": [one.wh], "scaler": [0], "status": [0],
            }
        ),
    )  # fmt: skip
    return Arrival(
        payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
        topic=up_data(one.concentrator), hint=batch.id, now=clock.now(),
        wall_now=clock.wall_now(),
    )  # fmt: skip
