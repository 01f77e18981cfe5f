"""Rows of images and their blocks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cloud.store.db import Connection
from cloud.upkeep.model import Image
from cloud.upkeep.store.blocks import SQL, refusals
from protocols.identity import ConcentratorId


class FoundBlock(NamedTuple):
    """A stored block, None where the image has none of that number, and how long blocks are."""

    octets: bytes | None
    block_octets: int


def insert_image(conn: Connection, image: Image, blocks: Sequence[bytes]) -> bool:
    """Store an image; False when the same octets are known. Raises: RefusedError."""
    values = {
        "sha256": image.sha256, "model": image.model, "version": image.version,
        "identifier": image.identifier, "octets": image.octets,
        "block_octets": image.block_octets, "actor": image.uploaded_by, "now": image.uploaded_at,
    }  # fmt: skip
    with refusals():
        if conn.execute(SQL["insert_image"], values).fetchone() is None:
            return False
        block_values = {"sha256": image.sha256, "blocks": list(blocks)}
        conn.execute(SQL["insert_image_blocks"], block_values)
    return True


def image(conn: Connection, sha256: bytes) -> Image | None:
    """Return an image, or None."""
    row = conn.execute(SQL["image"], {"sha256": sha256}).fetchone()
    return _image(row) if row else None


def images(conn: Connection) -> list[Image]:
    """Return the images, newest first."""
    return [_image(row) for row in conn.execute(SQL["images"]).fetchall()]


def block_for(
    conn: Connection, concentrator: ConcentratorId, sha256: bytes, index: int
) -> FoundBlock | None:
    """Return a block for a concentrator that was ordered to bring the image in, else None."""
    values = {"concentrator": concentrator, "sha256": sha256, "index": index}
    row = conn.execute(SQL["block_for"], values).fetchone()
    if row is None:
        return None
    return FoundBlock(bytes(row[0]) if row[0] is not None else None, row[1])


def _image(row: Sequence[Any]) -> Image:
    sha256, model, version, identifier, octets, block_octets, uploaded_by, uploaded_at = row
    return Image(
        sha256=bytes(sha256), model=model, version=version, identifier=bytes(identifier),
        octets=octets, block_octets=block_octets, uploaded_by=uploaded_by,
        uploaded_at=uploaded_at,
    )  # fmt: skip
