"""
What a simulated meter offers beyond reading: image transfer, security setup, the list of objects.

*Source*: IEC 62056-6-2 classes 15, 18, 64.
"""

import hashlib
from collections.abc import Callable

from protocols.dlms.apdu import Access
from protocols.dlms.classes import image, security_setup
from protocols.dlms.classes.image import ImageStatus, ImageToActivate
from protocols.dlms.classes.security_setup import KeyId
from protocols.dlms.security import Keys
from protocols.dlms.serving import AccessRefusedError
from protocols.dlms.values import (
    Value,
    array,
    boolean,
    double_long_unsigned,
    enum,
    octet_string,
)
from protocols.errors import PeerError
from simulators.fleet import SimMeter
from simulators.meter.event_book import (
    IMAGE_ACTIVE,
    IMAGE_READY,
    IMAGE_WRONG,
    KEYS_CHANGED,
    STANDARD,
)
from simulators.meter.state import SimulatedMeter

IMAGE_BLOCK = 128
_MAX_IMAGE = 4_194_304
_SEAL = 32
_BLOCK, _IDENTIFIER, _ACTIVE, _VERSION = (
    "image/block/", "image/identifier", "image/active", "image/version",
)  # fmt: skip
_STATUS, _SIZE = "image/status", "image/size"
_KEYS = "keys"
_FIRST_VERSION = b"1.0"


def sealed_image(body: bytes) -> bytes:
    """Return firmware that simulated meters verify: the body behind its SHA-256."""
    return hashlib.sha256(body).digest() + body


def master_key_of(spec: SimMeter) -> bytes:
    """Return the master key (KEK) that a simulated meter was made with."""
    return hashlib.sha256(b"master" + spec.encryption_key).digest()[:16]


class ImageStore:
    """
    The image transfer object; one for a meter, so that a broken transfer goes on.

    Blocks, status and the firmware that runs are in the meter's memory: no kill loses them.
    """

    def __init__(self, meter: SimulatedMeter) -> None:
        """Go on with what the meter remembers; take an image when asked."""
        self.enabled = True
        self.received = 0
        """Blocks taken since this object was made."""
        self._memory, self._book = meter.memory, meter.book
        self._there = {int(name) for name in self._memory.all_kept(_BLOCK)}

    @property
    def active(self) -> bytes:
        """Return the firmware that was activated last."""
        return self._memory.kept(_ACTIVE)

    @property
    def version(self) -> bytes:
        """Return the identifier of the firmware that runs."""
        return self._memory.kept(_VERSION) or _FIRST_VERSION

    @property
    def _status(self) -> ImageStatus:
        return ImageStatus(self._memory.remembered(_STATUS))

    @property
    def _size(self) -> int:
        return self._memory.remembered(_SIZE)

    @property
    def _identifier(self) -> bytes:
        return self._memory.kept(_IDENTIFIER)

    def tellers(self) -> dict[int, Callable[[], Value]]:
        """Return the attributes by index."""
        return {
            image.BLOCK_SIZE: lambda: double_long_unsigned(IMAGE_BLOCK),
            image.BLOCKS: lambda: image.encode_blocks(
                [at in self._there for at in range(self._count)]
            ),
            image.FIRST_MISSING: lambda: double_long_unsigned(
                next((at for at in range(self._count) if at not in self._there), self._count)
            ),
            image.ENABLED: lambda: boolean(self.enabled),
            image.STATUS: lambda: enum(int(self._status)),
            image.TO_ACTIVATE: self._to_activate,
        }

    def act(self, method: int, parameter: Value | None) -> None:
        """Carry out a method. Raises: AccessRefusedError, PeerError."""
        if not self.enabled or parameter is None:
            raise AccessRefusedError(Access.TEMPORARY_FAILURE if parameter else Access.OTHER)
        match method:
            case image.INITIATE:
                self._initiate(*image.decode_initiate(parameter))
            case image.TRANSFER:
                self._take(*image.decode_block(parameter))
            case image.VERIFY:
                self._verify()
            case image.ACTIVATE if self._status is ImageStatus.VERIFIED:
                self._activate()
            case _:
                raise AccessRefusedError(Access.OTHER)

    @property
    def _count(self) -> int:
        return -(-self._size // IMAGE_BLOCK)

    def _initiate(self, identifier: bytes, size: int) -> None:
        if not _SEAL < size <= _MAX_IMAGE:
            raise AccessRefusedError(Access.OTHER)
        # no block of one image is ever taken for one of the next
        self._settle(ImageStatus.NOT_INITIATED)
        self._memory.forget(_BLOCK)
        self._there.clear()
        self._memory.keep(_IDENTIFIER, identifier)
        self._memory.remember(_SIZE, size)
        self._settle(ImageStatus.INITIATED)

    def _settle(self, status: ImageStatus) -> None:
        self._memory.remember(_STATUS, int(status))

    def _take(self, number: int, octets: bytes) -> None:
        last = number == self._count - 1
        wanted = self._size - number * IMAGE_BLOCK if last else IMAGE_BLOCK
        fits = 0 <= number < self._count and len(octets) == wanted
        if self._status is not ImageStatus.INITIATED or not fits:
            raise AccessRefusedError(Access.OTHER)
        self._memory.keep(f"{_BLOCK}{number}", octets)
        self._there.add(number)
        self.received += 1

    def _whole(self) -> bytes:
        return b"".join(self._memory.kept(f"{_BLOCK}{at}") for at in range(self._count))

    def _verify(self) -> None:
        if self._status is not ImageStatus.INITIATED or len(self._there) != self._count:
            raise AccessRefusedError(Access.OTHER)
        whole = self._whole()
        sound = hashlib.sha256(whole[_SEAL:]).digest() == whole[:_SEAL]
        self._settle(ImageStatus.VERIFIED if sound else ImageStatus.VERIFY_FAILED)
        self._book.note(STANDARD, IMAGE_READY if sound else IMAGE_WRONG)

    def _activate(self) -> None:
        self._memory.keep(_ACTIVE, self._whole())
        self._memory.keep(_VERSION, self._identifier)
        self._settle(ImageStatus.ACTIVATED)
        self._book.note(STANDARD, IMAGE_ACTIVE)

    def _to_activate(self) -> Value:
        if self._status is not ImageStatus.VERIFIED:
            return array(())
        told = ImageToActivate(size=self._size, identifier=self._identifier)
        return array((told.encode(),))


class KeyStore:
    """The security setup object, and the keys that hold from the next association on."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """
        Hold the keys that the meter was last given, or was made with.

        None for a meter that ciphers nothing.
        """
        spec = meter.spec
        self.keys: Keys | None = None
        self.stubborn = False
        """A meter that answers success to new keys and keeps the old ones."""
        kept = meter.memory.kept(_KEYS)
        if spec.encryption_key and spec.authentication_key:
            half = len(kept) // 2
            self.keys = Keys(
                encryption=kept[:half] or spec.encryption_key,
                authentication=kept[half:] or spec.authentication_key,
            )
        self._meter = meter
        self._master = master_key_of(spec)

    def current(self) -> Keys:
        """Return the keys. Raises: RuntimeError for a meter without any."""
        if self.keys is None:
            raise RuntimeError("this meter has no keys")
        return self.keys

    def tellers(self) -> dict[int, Callable[[], Value]]:
        """Return the attributes by index."""
        return {
            security_setup.POLICY: lambda: enum(3),
            security_setup.SUITE: lambda: enum(self.keys.suite if self.keys else 0),
            security_setup.SERVER_TITLE: lambda: octet_string(self._meter.spec.system_title),
        }

    def act(self, method: int, parameter: Value | None) -> None:
        """Take new keys. Raises: AccessRefusedError when they are none."""
        if method != security_setup.KEY_TRANSFER or parameter is None or self.keys is None:
            raise AccessRefusedError(Access.OTHER)
        try:
            given = security_setup.decode_transfer(self._master, parameter)
            keys = Keys(
                encryption=given.get(KeyId.UNICAST_ENCRYPTION, self.keys.encryption),
                authentication=given.get(KeyId.AUTHENTICATION, self.keys.authentication),
            )
        except (PeerError, ValueError):
            raise AccessRefusedError(Access.OTHER) from None
        if not self.stubborn:
            # both keys in one piece: after a kill the meter has all of the old or all of the new
            self._meter.memory.keep(_KEYS, keys.encryption + keys.authentication)
            self.keys = keys
            self._meter.book.note(STANDARD, KEYS_CHANGED)
