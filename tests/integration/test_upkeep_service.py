"""Upkeep on the real database: asked, approved, signed, sent, answered, spread, halted, ended."""

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.signer import service as signer
from cloud.store.db import Database
from cloud.upkeep import service as upkeep
from cloud.upkeep.model import ErrandState, Kind, Refusal, RolloutId, RolloutState, Stages, Wish
from cloud.upkeep.service.images import NO_SUCH_BLOCK, NOT_ORDERED, OTHER_BLOCK_SIZE
from protocols.errors import RefusedError
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.downlink import Command, Verb, open_signed
from protocols.mqtt.upkeep import PREFIX, Fetch, activation_of, firmware_of, open_config
from protocols.mqtt.uplink import Stage
from tests.integration.control_kit import CONCENTRATOR, NOW, StillClock, build, meter
from tests.integration.upkeep_kit import (
    ASKER,
    OCTETS,
    OTHER,
    answer,
    configuration,
    errands,
    firmware,
    rekey,
    state,
    stored_image,
)

KEY = Ed25519PrivateKey.generate()


def signed(db: Database, clock: StillClock) -> tuple[int, int]:
    upkeep.advance(db, clock)
    return signer.sign_upkeep(db, KEY, clock)


def refusal_of(act: Callable[[], object]) -> Refusal:
    with pytest.raises(RefusedError) as refused:
        act()
    assert isinstance(refused.value.refusal, Refusal)
    return refused.value.refusal


def test_settings_go_down_signed_with_rising_revisions_by_one_person(db: Database) -> None:
    build(db, 1)
    clock = StillClock()
    first = configuration(db, poll_seconds=60)
    assert signed(db, clock) == (1, 0)
    [sent] = upkeep.outgoing(db, clock)
    order = open_config(sent.payload, KEY.public_key())
    assert (order.revision, dict(order.settings)) == (1, {"poll_seconds": 60})
    assert (order.concentrator, order.issuer) == (CONCENTRATOR, ASKER)
    assert order.id.startswith(PREFIX)
    assert upkeep.outgoing(db, clock)[0].payload == sent.payload, "again, until it is answered"
    [errand] = errands(db, first)
    assert answer(db, errand, Stage.DONE, clock, evidence={"config_revision": 1})
    assert not answer(db, errand, Stage.DONE, clock), "a repeat means nothing new"
    assert upkeep.outgoing(db, clock) == []
    upkeep.advance(db, clock)
    assert state(db, first)[0] is RolloutState.FINISHED
    assert errands(db, first)[0].evidence == {"config_revision": 1}
    second = configuration(db, poll_seconds=90)
    assert signed(db, clock) == (1, 0)
    assert errands(db, second)[0].revision == 2


def test_firmware_runs_after_a_second_person_and_spreads_after_success(db: Database) -> None:
    build(db, 1, 2, 3)
    clock = StillClock()
    rollout = firmware(db, 1, 2, 3)
    assert signed(db, clock) == (0, 0), "nobody has approved it"
    assert refusal_of(lambda: upkeep.approve(db, rollout, actor=ASKER, now=NOW)) is (
        Refusal.SAME_PERSON
    )
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    assert signed(db, clock) == (1, 0)
    [sent] = upkeep.outgoing(db, clock)
    command = open_signed(sent.payload, KEY.public_key())
    assert isinstance(command, Command)
    assert (command.verb, command.meter) == (Verb.FIRMWARE, meter(1))
    order = firmware_of(command)
    assert (order.size, order.identifier, order.activate) == (len(OCTETS) + 3, b"2.1", True)
    one, two, three = errands(db, rollout)
    answer(db, one, Stage.ACCEPTED, clock)
    answer(db, one, Stage.STARTED, clock, evidence={"blocks": 3})
    answer(db, one, Stage.STARTED, clock, evidence={"blocks": 9})
    assert errands(db, rollout)[0].progress == {"blocks": 9}
    assert signed(db, clock) == (0, 0), "the first must end before the rest"
    answer(db, one, Stage.DONE, clock, evidence={"identifier": b"2.1"})
    upkeep.advance(db, clock)
    assert state(db, rollout)[0] is RolloutState.REST
    assert signed(db, clock) == (2, 0)
    assert {item.errand for item in upkeep.outgoing(db, clock)} == {two.id, three.id}
    for errand in (two, three):
        answer(db, errand, Stage.DONE, clock)
    upkeep.advance(db, clock)
    assert state(db, rollout)[0] is RolloutState.FINISHED


def test_a_failure_among_the_first_halts_the_rest(db: Database) -> None:
    build(db, 1, 2, 3)
    clock = StillClock()
    rollout = firmware(db, 1, 2, 3)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    signed(db, clock)
    upkeep.outgoing(db, clock)
    answer(db, errands(db, rollout)[0], Stage.FAILED, clock, reason="dlms.image_refused")
    upkeep.advance(db, clock)
    assert state(db, rollout) == (
        RolloutState.HALTED, "0 of 1 succeeded; at least 1000 in 1000 must",
    )  # fmt: skip
    found = errands(db, rollout)
    assert [item.state for item in found] == [
        ErrandState.FAILED, ErrandState.CANCELLED, ErrandState.CANCELLED,
    ]  # fmt: skip
    assert found[0].end_reason == "dlms.image_refused"
    assert signed(db, clock) == (0, 0)


def test_stopped_by_a_person_nothing_more_is_sent_though_signed(db: Database) -> None:
    build(db, 1, 2)
    clock = StillClock()
    rollout = firmware(db, 1, 2, stages=Stages(first=2))
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    assert signed(db, clock) == (2, 0)
    upkeep.withdraw(db, rollout, actor=OTHER, reason="wrong file", now=NOW)
    assert state(db, rollout) == (RolloutState.HALTED, "wrong file")
    assert upkeep.outgoing(db, clock) == []
    assert {item.state for item in errands(db, rollout)} == {ErrandState.CANCELLED}
    assert refusal_of(
        lambda: upkeep.withdraw(db, rollout, actor=OTHER, reason="again", now=NOW)
    ) is (Refusal.WRONG_STATE)


def test_what_gets_no_answer_expires_and_what_comes_late_is_kept_apart(db: Database) -> None:
    build(db, 1, 2)
    clock = StillClock()
    rollout = firmware(db, 1, 2, stages=Stages(first=2))
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    signed(db, clock)
    upkeep.outgoing(db, clock)
    one, two = errands(db, rollout)
    answer(db, two, Stage.STARTED, clock)
    clock.move(hours=24, seconds=61)
    assert upkeep.outgoing(db, clock) == [], "an order whose time is over is not sent"
    assert upkeep.expire_errands(db, clock) == 1, "what was begun may still end"
    clock.move(hours=6)
    assert upkeep.expire_errands(db, clock) == 1
    answer(db, one, Stage.DONE, clock)
    found = errands(db, rollout)
    assert [item.state for item in found] == [ErrandState.EXPIRED] * 2
    assert found[1].evidence == {"state": "started", "progress": None}
    upkeep.advance(db, clock)
    assert state(db, rollout)[0] is RolloutState.HALTED


def test_what_nobody_approves_lapses(db: Database) -> None:
    build(db, 1)
    clock = StillClock()
    rollout = firmware(db, 1)
    clock.move(hours=25)
    upkeep.advance(db, clock)
    assert state(db, rollout)[0] is RolloutState.LAPSED
    assert errands(db, rollout)[0].state is ErrandState.CANCELLED


def test_an_answer_of_another_target_or_concentrator_does_nothing(
    db: Database, database_dsn: str
) -> None:
    build(db, 1)
    clock = StillClock()
    rollout = configuration(db, poll_seconds=60)
    signed(db, clock)
    upkeep.outgoing(db, clock)
    [errand] = errands(db, rollout)
    assert not answer(db, errand, Stage.DONE, clock, concentrator=ConcentratorId("C-99"))
    unknown = CommandId(f"{PREFIX}unknown")
    assert not answer(db, errand, Stage.DONE, clock, id_=unknown)
    assert errands(db, rollout)[0].state is ErrandState.DISPATCHED
    with psycopg.connect(database_dsn) as owner:
        causes = owner.execute("SELECT cause FROM upkeep.stray_ack ORDER BY cause").fetchall()
    assert causes == [("another concentrator's errand",), ("no such errand",)]


def test_sealed_keys_travel_as_they_are(db: Database) -> None:
    build(db, 1)
    clock = StillClock()
    rollout = rekey(db, 1, sealed=b"\x00secret" * 8)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    assert signed(db, clock) == (1, 0)
    [sent] = upkeep.outgoing(db, clock)
    command = open_signed(sent.payload, KEY.public_key())
    assert isinstance(command, Command)
    assert (command.verb, dict(command.args)) == (Verb.REKEY, {"sealed": b"\x00secret" * 8})
    assert b"secret" not in repr(errands(db, rollout)).encode()


def test_firmware_left_for_later_is_activated_by_a_rollout_of_its_own(db: Database) -> None:
    build(db, 1, 2)
    clock = StillClock()
    brought = firmware(db, 1, activate=False)
    upkeep.approve(db, brought, actor=OTHER, now=NOW)
    signed(db, clock)
    [sent] = upkeep.outgoing(db, clock)
    command = open_signed(sent.payload, KEY.public_key())
    assert isinstance(command, Command)
    assert firmware_of(command).activate is False
    [source] = errands(db, brought)
    image = stored_image(db).sha256

    def ask(*numbers: int) -> RolloutId:
        with db.transaction() as conn:
            targets = upkeep.targets_of(conn, [meter(n) for n in numbers], activates=image)
        return upkeep.ask(
            db,
            Wish(
                kind=Kind.ACTIVATION, requested_by=ASKER, reason="tonight", stages=Stages(),
                until=NOW + timedelta(hours=2), targets=targets, image=image,
            ),
            now=NOW,
        )  # fmt: skip

    assert refusal_of(lambda: ask(1)) is Refusal.NOT_BROUGHT, "it is still on its way"
    answer(db, source, Stage.DONE, clock)
    assert refusal_of(lambda: ask(1, 2)) is Refusal.NOT_BROUGHT, "the other meter has none"
    rollout = ask(1)
    assert signed(db, clock) == (0, 0), "this takes a second person too"
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    assert signed(db, clock) == (1, 0)
    [sent] = upkeep.outgoing(db, clock)
    command = open_signed(sent.payload, KEY.public_key())
    assert isinstance(command, Command)
    assert (command.verb, activation_of(command)) == (Verb.ACTIVATE_FIRMWARE, source.id)


def test_blocks_are_for_those_who_were_ordered_to_fetch(db: Database) -> None:
    build(db, 1)
    clock = StillClock()
    rollout = firmware(db, 1)
    image = stored_image(db)

    def fetch(index: int, *, block: int = 8192, by: str = CONCENTRATOR) -> tuple[bytes, str]:
        wanted = Fetch(image=image.sha256, index=index, block=block)
        found = upkeep.block_of(db, ConcentratorId(by), wanted)
        assert (found.image, found.index) == (image.sha256, index)
        return found.octets, found.reason

    assert fetch(0) == (b"", NOT_ORDERED)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    signed(db, clock)
    whole = OCTETS + b"2.1"
    assert b"".join(fetch(at)[0] for at in range(3)) == whole
    assert fetch(3) == (b"", NO_SUCH_BLOCK)
    assert fetch(0, block=4096) == (b"", OTHER_BLOCK_SIZE)
    assert fetch(0, by="C-99") == (b"", NOT_ORDERED)
    upkeep.outgoing(db, clock)
    answer(db, errands(db, rollout)[0], Stage.DONE, clock)
    assert fetch(0) == (b"", NOT_ORDERED)


def test_one_image_is_stored_once_and_never_under_another_name(db: Database) -> None:
    build(db, 1)
    image = stored_image(db)
    assert stored_image(db) == image
    with db.transaction() as conn:
        assert upkeep.images(conn) == [image]

    def upload(octets: bytes, **changes: str) -> Refusal:
        named = {"model": "toy", "version": "2.1"} | changes
        return refusal_of(
            lambda: upkeep.upload_image(
                db, octets, identifier=b"2.1", actor=ASKER, now=NOW, **named
            )
        )

    assert upload(OCTETS + b"2.1", version="3") is Refusal.IMAGE_DIFFERS
    assert upload(OCTETS) is Refusal.IMAGE_DIFFERS, "a version has one set of octets"
    assert upload(b"") is Refusal.IMAGE_SIZE


def test_wishes_that_the_network_cannot_serve(db: Database) -> None:
    build(db, 1, 2)
    image = stored_image(db, model="other", version="9")
    with db.transaction() as conn:
        targets = upkeep.targets_of(conn, [meter(1)])
        assert upkeep.meters_of_model(conn, "toy") == [meter(1), meter(2)]
        with pytest.raises(RefusedError, match="M-404"):
            upkeep.targets_of(conn, [MeterId("M-404")])

    def ask(kind: Kind, **content: object) -> Refusal:
        wish = Wish(
            kind=kind, requested_by=ASKER, reason="why", until=NOW + timedelta(hours=1),
            stages=Stages(), **content,  # type: ignore[arg-type]
        )  # fmt: skip
        return refusal_of(lambda: upkeep.ask(db, wish, now=NOW))

    assert ask(Kind.FIRMWARE, targets=targets, image=image.sha256) is Refusal.OTHER_MODEL
    assert ask(Kind.FIRMWARE, targets=targets, image=bytes(32)) is Refusal.UNKNOWN_IMAGE
    strange = upkeep.concentrators_as_targets([ConcentratorId("C-99")])
    assert ask(Kind.CONFIGURATION, targets=strange, settings={}) is Refusal.UNKNOWN_TARGET
    firmware(db, 2)
    assert refusal_of(lambda: firmware(db, 2)) is Refusal.BUSY
