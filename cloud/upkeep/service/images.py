"""Use cases of images: take one in, name it, give its blocks to those who were ordered to fetch."""

import hashlib
from datetime import datetime

from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.upkeep.model import BLOCK_OCTETS, Image, Refusal
from cloud.upkeep.store import images as rows
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId
from protocols.mqtt.upkeep import MOST_IMAGE_OCTETS, Block, Fetch

NOT_ORDERED = "not_ordered"
NO_SUCH_BLOCK = "no_such_block"
OTHER_BLOCK_SIZE = "other_block_size"


def upload_image(
    db: Database,
    octets: bytes,
    *,
    model: str,
    version: str,
    identifier: bytes,
    actor: str,
    now: datetime,
) -> Image:
    """
    Store firmware of a model under the digest of its octets; the same again changes nothing.

    Raises: RefusedError IMAGE_SIZE, IMAGE_DIFFERS, NOT_A_PERSON.
    """
    if not 1 <= len(octets) <= MOST_IMAGE_OCTETS:
        text = f"an image has 1 to {MOST_IMAGE_OCTETS} octets, not {len(octets)}"
        raise RefusedError(Refusal.IMAGE_SIZE, text, fix="choose another file")
    wanted = Image(
        sha256=hashlib.sha256(octets).digest(), model=model, version=version,
        identifier=identifier, octets=len(octets), block_octets=BLOCK_OCTETS, uploaded_by=actor,
        uploaded_at=now,
    )  # fmt: skip
    blocks = [octets[at : at + BLOCK_OCTETS] for at in range(0, len(octets), BLOCK_OCTETS)]
    with db.transaction() as conn:
        if rows.insert_image(conn, wanted, blocks):
            audit.record(
                conn, at=now, actor=actor, action="image.upload", entity="image",
                entity_id=wanted.sha256.hex(),
                after={"model": model, "version": version, "octets": len(octets)},
            )  # fmt: skip
            return wanted
        found = rows.image(conn, wanted.sha256)
    assert found is not None
    if (found.model, found.version, found.identifier) != (model, version, identifier):
        raise RefusedError(
            Refusal.IMAGE_DIFFERS,
            f"these octets are known as {found.model} {found.version}",
            fix="give the model, version and identifier that they were stored with",
        )
    return found


def image_of(conn: Connection, sha256: bytes) -> Image:
    """Return an image. Raises: RefusedError UNKNOWN_IMAGE."""
    found = rows.image(conn, sha256)
    if found is None:
        text = f"no image {sha256.hex()[:16]}.. is stored"
        raise RefusedError(Refusal.UNKNOWN_IMAGE, text, fix="upload the file first")
    return found


def images(conn: Connection) -> list[Image]:
    """Return the images, newest first."""
    return rows.images(conn)


def block_of(db: Database, concentrator: ConcentratorId, fetch: Fetch) -> Block:
    """Return what a concentrator asked for, or an empty block that says why not."""
    with db.transaction() as conn:
        found = rows.block_for(conn, concentrator, fetch.image, fetch.index)
    reason, octets = "", b""
    if found is None:
        reason = NOT_ORDERED
    elif fetch.block != found.block_octets:
        reason = OTHER_BLOCK_SIZE
    elif found.octets is None:
        reason = NO_SUCH_BLOCK
    else:
        octets = found.octets
    return Block(image=fetch.image, index=fetch.index, octets=octets, reason=reason)
