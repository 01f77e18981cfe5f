"""The shelf of images: nothing half stands for a whole, and it never grows past its bound."""

import hashlib
from pathlib import Path

import pytest

from edge.outbox import OutboxError
from edge.outbox.database import OutboxDatabase
from edge.outbox.firmware import FirmwareBook, ImageStep
from edge.outbox.images import ImageShelf
from protocols.identity import CommandId, MeterId

BLOB = bytes(range(250)) * 4


def digest(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()


def fill(shelf: ImageShelf, blob: bytes, block: int = 300) -> None:
    for at in range(0, len(blob), block):
        shelf.append(digest(blob), blob[at : at + block], at=at, size=len(blob))


def test_blocks_are_counted_and_half_a_block_is_written_over(tmp_path: Path) -> None:
    shelf = ImageShelf(tmp_path / "outbox.sqlite")
    image = digest(BLOB)
    assert shelf.held(image, 300) == 0
    shelf.append(image, BLOB[:300], at=0, size=len(BLOB))
    shelf.append(image, BLOB[300:400], at=300, size=len(BLOB))
    assert ImageShelf(tmp_path / "outbox.sqlite").held(image, 300) == 1
    shelf.append(image, BLOB[300:600], at=300, size=len(BLOB))
    shelf.append(image, BLOB[600:900], at=600, size=len(BLOB))
    shelf.append(image, BLOB[900:], at=900, size=len(BLOB))
    assert shelf.take(image) is None, "a whole is one only when it is proven"
    assert shelf.finish(image, size=len(BLOB))
    assert shelf.take(image) == BLOB


def test_what_is_not_the_image_is_dropped(tmp_path: Path) -> None:
    shelf = ImageShelf(tmp_path / "outbox.sqlite")
    image = digest(BLOB)
    shelf.append(image, bytes(len(BLOB)), at=0, size=len(BLOB))
    assert not shelf.finish(image, size=len(BLOB))
    assert shelf.held(image, 300) == 0
    fill(shelf, BLOB)
    assert shelf.finish(image, size=len(BLOB))
    (whole,) = (tmp_path / "outbox.sqlite.images").iterdir()
    whole.write_bytes(BLOB[:-1])
    assert shelf.take(image) is None, "the disk has lost an octet"
    assert not whole.exists()


def test_the_oldest_and_the_incomplete_make_room(tmp_path: Path) -> None:
    shelf = ImageShelf(tmp_path / "outbox.sqlite", most_octets=2500)
    blobs = [bytes([n]) * 1000 for n in range(4)]
    for blob in blobs[:2]:
        fill(shelf, blob)
        assert shelf.finish(digest(blob), size=1000)
    fill(shelf, blobs[2])
    held = [shelf.take(digest(blob)) is not None for blob in blobs[:2]]
    assert sorted(held) == [False, True]
    fill(shelf, blobs[3])
    assert shelf.held(digest(blobs[2]), 1000) == 0, "what is incomplete goes first"
    assert [shelf.take(digest(blob)) is not None for blob in blobs[:2]] == held


def test_a_disk_that_refuses_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite.images").write_text("no folder")
    with pytest.raises(OutboxError):
        ImageShelf(tmp_path / "outbox.sqlite").append(digest(BLOB), BLOB, at=0, size=len(BLOB))


def test_a_later_image_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    database = OutboxDatabase(tmp_path / "outbox.sqlite")
    book, meter = FirmwareBook(database), MeterId("M-1")
    first, second = CommandId("upkeep-1"), CommandId("upkeep-2")
    book.note(meter, first, ImageStep.VERIFIED)
    assert book.of(meter, first) is ImageStep.VERIFIED
    book.note(meter, second, ImageStep.SENDING)
    assert book.of(meter, first) is None
    assert book.of(meter, second) is ImageStep.SENDING
    database.close()
