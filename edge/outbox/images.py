"""
Images of firmware beside the outbox: fetched block by block, whole only when their digest says so.

    {sha256}.part    blocks from the first on, without gaps; each on disk before the next is asked
    {sha256}.image   the whole, proven

The folder is bounded: what was used longest ago goes first, and what is incomplete goes before
what is whole.
"""

import hashlib
import os
from pathlib import Path

from edge.outbox.database import OutboxError
from protocols.mqtt.upkeep import MOST_IMAGE_OCTETS

MOST_OCTETS = 2 * MOST_IMAGE_OCTETS


class ImageShelf:
    """The images of one agent. Raises: OutboxError from every call when the disk refuses."""

    def __init__(self, outbox: Path, *, most_octets: int = MOST_OCTETS) -> None:
        """Keep images beside the outbox of that path; nothing is made before it is needed."""
        self._folder = outbox.with_name(outbox.name + ".images")
        self._most_octets = most_octets

    def held(self, image: bytes, block: int) -> int:
        """Return how many blocks of an incomplete image are there; half a block is dropped."""
        try:
            path = self._part(image)
            blocks = path.stat().st_size // block if path.exists() else 0
            if blocks:
                os.truncate(path, blocks * block)
            return blocks
        except OSError as error:
            raise _refused(error) from error

    def append(self, image: bytes, octets: bytes, *, at: int, size: int) -> None:
        """Keep what begins `at` in an image of `size` octets; on disk before this returns."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._part(image)
            if not path.exists():
                self._make_room(size)
                path.touch(mode=0o600)
            with path.open("r+b") as file:
                file.truncate(at)  # half a block may be left where the disk was full
                file.seek(at)
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _refused(error) from error

    def finish(self, image: bytes, *, size: int) -> bool:
        """Prove an image whose blocks are all there; a damaged one is dropped, False."""
        try:
            path = self._part(image)
            octets = path.read_bytes()
            if len(octets) != size or hashlib.sha256(octets).digest() != image:
                path.unlink()
                return False
            path.rename(self._whole(image))
            return True
        except OSError as error:
            raise _refused(error) from error

    def take(self, image: bytes) -> bytes | None:
        """Return a whole image, None when it is not there or no longer what it was."""
        try:
            path = self._whole(image)
            if not path.exists():
                return None
            octets = path.read_bytes()
            if hashlib.sha256(octets).digest() == image:
                path.touch()
                return octets
            path.unlink()
            return None
        except OSError as error:
            raise _refused(error) from error

    def _make_room(self, octets: int) -> None:
        kept = sorted(
            self._folder.iterdir(), key=lambda path: (path.suffix == ".image", path.stat().st_mtime)
        )
        taken = sum(path.stat().st_size for path in kept)
        for path in kept:
            if taken + octets <= self._most_octets:
                return
            taken -= path.stat().st_size
            path.unlink()

    def _part(self, image: bytes) -> Path:
        return self._folder / f"{image.hex()}.part"

    def _whole(self, image: bytes) -> Path:
        return self._folder / f"{image.hex()}.image"


def _refused(error: OSError) -> OutboxError:
    return OutboxError(f"images: {error.strerror}")
