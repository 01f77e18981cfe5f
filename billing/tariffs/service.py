"""
Keeping and finding tariff versions.

Publishing stands in `billing.rating.service`: a version must pass its own cases first, and pricing
lies above this context.
"""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from billing.tariffs import rules, store
from billing.tariffs.model import Refusal, Tariff
from billing.tariffs.model.proposed import Proposal, ProposalEnd
from billing.tariffs.model.published import Published
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError

SHIPPED = Path(__file__).parent / "published"
"""Tariff files that come with the product, each with its sources."""


def keep(conn: Connection, tariff: Tariff, *, document: bytes, actor: str, now: datetime) -> str:
    """
    Store a version that was proven elsewhere and return its digest; the same again is no change.

    Raises: RefusedError `tariffs.validity` when it does not follow its forerunner,
    `tariffs.frozen` while kernel and oracle are known to differ.
    """
    store.lock_code(conn, tariff.code)
    text = rules.canonical(document)
    digest = rules.digest(text)
    versions = store.versions_of_code(conn, tariff.code)
    if any(known == digest for known, _ in versions):
        return digest
    reason = store.frozen(conn)
    if reason is not None:
        raise RefusedError(
            Refusal.FROZEN, f"no tariff is published now: {reason}",
            fix="find out which of the two is wrong, then lift the freeze",
        )  # fmt: skip
    rules.check_succession(
        tariff,
        [version for _, version in versions],
        today=now.astimezone(tariff.zone_info).date(),
    )
    store.insert_version(conn, tariff, digest=digest, document=text, actor=actor, now=now)
    audit.record(
        conn, at=now, actor=actor, action="tariffs.publish", entity="tariff",
        entity_id=tariff.code, after={"version": tariff.version, "digest": digest},
    )  # fmt: skip
    return digest


def check_follows(conn: Connection, tariff: Tariff, *, now: datetime) -> None:
    """Refuse a version that could not be published now. Raises: RefusedError as `keep`."""
    rules.check_succession(
        tariff, [version for _, version in store.versions_of_code(conn, tariff.code)],
        today=now.astimezone(tariff.zone_info).date(),
    )  # fmt: skip


def propose(
    conn: Connection, tariff: Tariff, *, document: bytes, reason: str, actor: str, now: datetime
) -> Proposal:
    """
    Keep a version that was proven elsewhere for another person to decide; it prices nothing.

    Raises: RefusedError `tariffs.validity`, `tariffs.proposal` when another of its code waits or no
    reason is given.
    """
    store.lock_code(conn, tariff.code)
    check_follows(conn, tariff, now=now)
    if not reason.strip():
        raise RefusedError(Refusal.PROPOSAL, "a proposal needs a reason", fix="say why")
    waiting = [one for one in store.proposals(conn) if one.code == tariff.code]
    if waiting:
        raise RefusedError(
            Refusal.PROPOSAL, f"proposal {waiting[0].id} of {tariff.code} waits",
            fix="let it be decided or withdrawn first",
        )  # fmt: skip
    text = rules.canonical(document)
    number = store.insert_proposal(
        conn, tariff, digest=rules.digest(text), document=text, reason=reason.strip(),
        actor=actor, now=now,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, action="tariffs.propose", entity="tariff",
        entity_id=tariff.code, reason=reason.strip(),
        after={"proposal": number, "version": tariff.version, "from": str(tariff.valid_from)},
    )  # fmt: skip
    return store.proposals(conn, number)[0]


def decide(
    conn: Connection, proposal: int, end: ProposalEnd, *, actor: str, reason: str, now: datetime
) -> Proposal:
    """
    End a proposal: another person publishes or refuses it, its author withdraws it (G2, G4).

    Raises: RefusedError `tariffs.proposal` when it does not wait, `tariffs.same_person`, and as
    `keep`.
    """
    waiting = store.proposals(conn, proposal)
    if waiting:
        store.lock_code(conn, waiting[0].code)
        waiting = store.proposals(conn, proposal)
    if not waiting:
        raise RefusedError(
            Refusal.PROPOSAL, f"no proposal {proposal} waits", fix="tariff proposals"
        )
    found = waiting[0]
    if (actor == found.asked_by) != (end is ProposalEnd.WITHDRAWN):
        raise RefusedError(
            Refusal.SAME_PERSON, f"{found.asked_by} proposed it, {actor} cannot end it {end}",
            fix="another person publishes or refuses; the author withdraws",
        )  # fmt: skip
    if end is ProposalEnd.PUBLISHED:
        document = found.document.encode()
        keep(conn, rules.read_tariff(document), document=document, actor=actor, now=now)
    store.end_proposal(conn, found, end, actor=actor, reason=reason.strip(), now=now)
    audit.record(
        conn, at=now, actor=actor, on_behalf=found.asked_by, action=f"tariffs.{end.value}",
        entity="tariff", entity_id=found.code, reason=reason.strip(),
        after={"proposal": found.id, "version": found.number},
    )  # fmt: skip
    return found


def proposals(conn: Connection) -> list[Proposal]:
    """Return the proposals that wait for a person."""
    return store.proposals(conn)


def freeze(conn: Connection, *, actor: str, reason: str, now: datetime) -> None:
    """Let no version be published until a person lifts it."""
    store.insert_freeze(conn, frozen=True, actor=actor, reason=reason, now=now)
    audit.record(
        conn, at=now, actor=actor, action="tariffs.freeze", entity="tariffs", entity_id="all",
        after={"reason": reason},
    )  # fmt: skip


def lift_freeze(db: Database, *, actor: str, reason: str, now: datetime) -> None:
    """
    Let versions be published again.

    Raises: RefusedError `tariffs.not_frozen` when nothing stands still.
    """
    with db.transaction() as conn:
        if store.frozen(conn) is None:
            raise RefusedError(Refusal.NOT_FROZEN, "publishing does not stand still")
        store.insert_freeze(conn, frozen=False, actor=actor, reason=reason, now=now)
        audit.record(
            conn, at=now, actor=actor, action="tariffs.lift_freeze", entity="tariffs",
            entity_id="all", after={"reason": reason},
        )  # fmt: skip


def version_on(conn: Connection, code: str, day: date) -> str | None:
    """Return the digest of the version of `code` that prices `day`, or None."""
    return rules.valid_on(store.versions_of_code(conn, code), day)


def versions(conn: Connection, code: str) -> list[tuple[str, Tariff]]:
    """Return every version of a code with its digest, oldest first."""
    return store.versions_of_code(conn, code)


def by_digest(conn: Connection, digests: Sequence[str]) -> dict[str, Tariff]:
    """
    Return the versions named by their digests.

    Raises: RefusedError `tariffs.unknown` when one is not there.
    """
    wanted = sorted(set(digests))
    found = store.versions_by_digest(conn, wanted)
    missing = [digest for digest in wanted if digest not in found]
    if missing:
        raise RefusedError(
            Refusal.UNKNOWN, f"no tariff version {missing[0][:12]}", fix="publish it first"
        )
    return found


def published(conn: Connection) -> list[Published]:
    """Return every version in the book with its document, by code, the newest first."""
    return store.published(conn)


def shipped(code: str) -> bytes:
    """
    Return the newest shipped file of a tariff code.

    Raises: RefusedError `tariffs.unknown`, naming the codes there are.
    """
    files = sorted(SHIPPED.glob(f"{code}.v*.json"))
    if not files:
        codes = sorted({file.name.split(".")[0] for file in SHIPPED.glob("*.json")})
        raise RefusedError(
            Refusal.UNKNOWN, f"no shipped tariff {code!r}", fix=f"use one of {', '.join(codes)}"
        )
    return files[-1].read_bytes()
