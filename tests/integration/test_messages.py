"""The outbox on a real database: once per key, paper without a number, sent until taken."""

import asyncio
from datetime import timedelta

import pytest

from cloud.messages import service as messages
from cloud.messages.agent import post, send_due
from cloud.messages.model import Kind, MessageEvent
from cloud.messages.rules.text import TemplateError
from cloud.store.db import Database
from tests.integration.control_kit import NOW, StillClock

PAID = {"amount_micros": 50_000_000, "available_micros": 46_890_000, "currency": "CNY"}
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.req("F4")
def test_a_message_is_enqueued_once_in_its_customers_language(db: Database) -> None:
    with db.transaction() as conn:
        messages.set_contact(
            conn, subject="UP-1", phone="+86 138 0000 0042", language="zh", now=NOW
        )
        first = messages.enqueue(
            conn, dedupe_key="p:1", kind="payment_received", subject="UP-1",
            variables={**PAID, "receipt": "R-1"}, now=NOW,
        )  # fmt: skip
        again = messages.enqueue(
            conn, dedupe_key="p:1", kind="payment_received", subject="UP-1",
            variables={**PAID, "receipt": "R-2"}, now=NOW,
        )  # fmt: skip
        [message] = messages.messages_of(conn, "UP-1")
    assert (first, again) == (message.id, None)
    assert message.phone == "+8613800000042"
    assert message.text == "已收到缴费50.00 CNY，当前余额46.89 CNY，收据号R-1。"
    assert message.segments == 1


@pytest.mark.req("D3", "F7", "F11")
def test_without_a_usable_number_or_by_wish_it_goes_on_paper(db: Database) -> None:
    with db.transaction() as conn:
        messages.set_contact(conn, subject="UP-1", phone="138abc", language="ru", now=NOW)
        messages.set_contact(
            conn, subject="UP-2", phone="+998901112233", language="uz", mode="paper", now=NOW
        )
        for subject in ("UP-1", "UP-2", "UP-3"):
            messages.enqueue(
                conn, dedupe_key=f"d:{subject}", kind=Kind.DUNNING, subject=subject,
                variables={"available_micros": -1, "currency": "UZS"}, now=NOW,
            )  # fmt: skip
        found = {
            m.subject: (m.channel.value, m.state.value, m.cause) for m in messages.outbox(conn)
        }
        invalid = [(c.subject, c.problem) for c in messages.invalid_phones(conn)]
        [paper] = messages.messages_of(conn, "UP-2")
    assert found == {
        "UP-1": ("paper", "paper", "phone letters"),
        "UP-2": ("paper", "paper", ""),
        "UP-3": ("paper", "paper", "phone empty"),
    }
    assert invalid == [("UP-1", "letters")]
    assert messages.due(db, wall_now=NOW) == []
    assert messages.note(db, paper.id, MessageEvent.PRINTED, now=NOW)
    assert not messages.note(db, paper.id, MessageEvent.PRINTED, now=NOW)


def test_a_missing_variable_stops_the_callers_transaction(db: Database) -> None:
    with db.transaction() as conn, pytest.raises(TemplateError, match="receipt"):
        messages.enqueue(
            conn, dedupe_key="x", kind="payment_received", subject="UP-1", variables=PAID, now=NOW
        )


def test_a_number_given_with_a_message_is_remembered(db: Database) -> None:
    with db.transaction() as conn:
        messages.enqueue(
            conn, dedupe_key="1", kind=Kind.DUNNING, subject="UP-1", phone="+998901112233",
            language="uz", variables={"available_micros": -1, "currency": "UZS"}, now=NOW,
        )  # fmt: skip
        contact = messages.contact_of(conn, "UP-1")
    assert contact is not None
    assert (contact.phone, contact.language) == ("+998901112233", "uz")


def test_a_centre_that_is_away_is_tried_again_later_and_reports_come_in_any_order(
    db: Database,
) -> None:
    clock = StillClock()
    with db.transaction() as conn:
        id_ = messages.enqueue(
            conn, dedupe_key="1", kind=Kind.DUNNING, subject="UP-1", phone="+998901112233",
            variables={"available_micros": -1, "currency": "UZS"}, now=NOW,
        )  # fmt: skip
    assert id_ is not None
    status: dict[str, int | str] = {}
    assert asyncio.run(send_due(db, NOWHERE, clock, status=status)) == 0
    assert status == {"put_off": 1}
    assert messages.due(db, wall_now=NOW) == []
    assert [item.id for item in messages.due(db, wall_now=NOW + timedelta(seconds=1))] == [id_]
    assert asyncio.run(send_due(db, "", clock, status=status)) == 0  # no gateway: it waits
    assert messages.note(db, id_, MessageEvent.DELIVERED, now=NOW)
    assert not messages.note(db, id_, MessageEvent.ACCEPTED, now=NOW)
    with db.transaction() as conn:
        assert messages.counts(conn) == {"delivered": 1}


def test_a_peer_that_does_not_answer_is_an_answer() -> None:
    assert post(NOWHERE, "S-1", "+998901112233", "x").status == 0
