"""
Care of a DLMS meter beyond reading: firmware, keys, what objects it has.

Each step is one short exchange, so that readings go on between the blocks of an image.
*Source*: IEC 62056-6-2 classes 15, 18, 64.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge.acquire.dlms_session import DlmsSession, present
from protocols.dlms.classes import image, limiter, scripts, security_setup
from protocols.dlms.classes.association_ln import OBJECT_LIST, ObjectView, decode_object_list
from protocols.dlms.classes.image import ImageStatus
from protocols.dlms.classes.security_setup import KeyId
from protocols.dlms.classes.typed import Typed, attributes_of
from protocols.dlms.obis import Obis
from protocols.dlms.reference import Access, Attribute
from protocols.dlms.values import double_long_unsigned, long_unsigned
from protocols.errors import PeerError
from protocols.mqtt.upkeep import NewKeys

_STEP = 16
"""Blocks of an image sent in one call; readings may go on between calls."""
_ROUNDS = 3
_POLLS, _PAUSE = 120, 0.5
_T = TypeVar("_T")
_Kind = TypeVar("_Kind", bound=Typed)

Progress = Callable[[int, int], None]
"""Blocks that the meter has, of how many."""


class Call(Protocol):
    """Runs one short piece of work on an open session; see `DlmsDriver`."""

    async def __call__(self, work: Callable[[DlmsSession], Awaitable[_T]], /) -> _T:
        """Return what the work returned. Raises: PeerError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """What is left of a transfer: `missing` blocks of `count`, each of `block` octets."""

    block: int
    count: int
    missing: tuple[int, ...]


async def transfer_image(call: Call, blob: bytes, identifier: bytes, progress: Progress) -> None:
    """
    Bring firmware into the meter and have it verified; nothing is activated.

    Raises: PeerError `dlms.image_refused`, `dlms.image_disabled`, and those of `call`.
    """
    status = ImageStatus.NOT_INITIATED
    for anew in (False, True):
        await _send_image(call, blob, identifier, progress, anew=anew)
        status = await _settled(call, image.VERIFY, ImageStatus.VERIFYING)
        if status is ImageStatus.VERIFIED and await call(
            lambda session: is_verified_image(session, blob, identifier)
        ):
            return
    raise _refused("the meter does not verify the image", status)


async def activate_image(call: Call) -> None:
    """Activate what was verified, once. Raises: PeerError `dlms.image_refused`, as `call`."""
    if await call(image_status) is ImageStatus.ACTIVATED:
        return
    status = await _settled(call, image.ACTIVATE, ImageStatus.ACTIVATING)
    if status is not ImageStatus.ACTIVATED:
        raise _refused("the meter does not activate the image", status)


async def _send_image(
    call: Call, blob: bytes, identifier: bytes, progress: Progress, *, anew: bool
) -> None:
    plan = await call(lambda session: begin_image(session, blob, identifier, anew=anew))
    missing = list(plan.missing)
    for _ in range(_ROUNDS):
        for at in range(0, len(missing), _STEP):
            some = missing[at : at + _STEP]

            async def send(session: DlmsSession, numbers: list[int] = some) -> None:
                await send_blocks(session, blob, plan, numbers)

            await call(send)
            progress(plan.count - len(missing) + at + len(some), plan.count)
        missing = await call(lambda session: missing_blocks(session, plan.count))
        if not missing:
            return
    raise _refused(f"the meter still lacks {len(missing)} blocks", ImageStatus.INITIATED)


async def _settled(call: Call, method: int, busy: ImageStatus) -> ImageStatus:
    """Order it and wait until the meter is done."""
    status = await call(lambda session: order_image(session, method))
    for _ in range(_POLLS):
        if status is not busy:
            break
        await asyncio.sleep(_PAUSE)
        status = await call(image_status)
    return status


def _refused(message: str, status: ImageStatus) -> PeerError:
    return PeerError("dlms.image_refused", message, evidence={"status": status.name.lower()})


async def begin_image(
    session: DlmsSession, blob: bytes, identifier: bytes, *, anew: bool
) -> ImagePlan:
    """
    Return what the meter lacks of an image, after telling it about the image if need be.

    Raises: PeerError `dlms.image_disabled` and others.
    """
    size = image.block_size(await session.get_one(image.attribute(image.BLOCK_SIZE)))
    count = image.block_count(len(blob), size)
    enabled = await session.get_one(image.attribute(image.ENABLED))
    if enabled.content is not True:
        message = "the meter does not take images; enable image transfer (class 18, attribute 5)"
        raise PeerError("dlms.image_disabled", message)
    status = image.status_of(await session.get_one(image.attribute(image.STATUS)))
    if anew or status is not ImageStatus.INITIATED:
        parameter = image.initiate_parameter(identifier, len(blob))
        await session.act(image.attribute(image.INITIATE), parameter)
    missing = await missing_blocks(session, count)
    return ImagePlan(block=size, count=count, missing=tuple(missing))


async def missing_blocks(session: DlmsSession, count: int) -> list[int]:
    """Return the blocks that the meter lacks."""
    told = await session.get_one(image.attribute(image.BLOCKS))
    return image.missing_blocks(told, count)


async def send_blocks(
    session: DlmsSession, blob: bytes, plan: ImagePlan, numbers: Sequence[int]
) -> None:
    """Send some blocks. Raises: PeerError `dlms.action_refused` and others."""
    for number in numbers:
        octets = blob[number * plan.block : (number + 1) * plan.block]
        await session.act(image.attribute(image.TRANSFER), image.block_parameter(number, octets))


async def order_image(session: DlmsSession, method: int) -> ImageStatus:
    """Order to verify or activate, and return the status; busy is no error, only not the end."""
    try:
        await session.act(image.attribute(method), image.NOTHING)
    except PeerError as error:
        if error.evidence.get("result") != Access.TEMPORARY_FAILURE:
            raise
    return await image_status(session)


async def image_status(session: DlmsSession) -> ImageStatus:
    """Return where the transfer stands."""
    return image.status_of(await session.get_one(image.attribute(image.STATUS)))


async def is_verified_image(session: DlmsSession, blob: bytes, identifier: bytes) -> bool:
    """Tell whether what the meter has verified is this very image."""
    told = await session.get_one(image.attribute(image.TO_ACTIVATE))
    images = image.decode_to_activate(told)
    return any((one.size, one.identifier) == (len(blob), identifier) for one in images)


async def send_keys(session: DlmsSession, master: bytes, keys: NewKeys) -> None:
    """Transfer new global keys, wrapped. Raises: PeerError `dlms.action_refused` and others."""
    parameter = security_setup.transfer_parameter(
        master,
        {
            KeyId.UNICAST_ENCRYPTION: keys.encryption_key,
            KeyId.AUTHENTICATION: keys.authentication_key,
        },
    )
    await session.act(security_setup.attribute(security_setup.KEY_TRANSFER), parameter)


async def read_objects(session: DlmsSession) -> ObjectView:
    """Return what the association shows, unknown classes among it."""
    return decode_object_list(await session.get_one(OBJECT_LIST))


async def read_typed(session: DlmsSession, kind: type[_Kind], name: Obis) -> _Kind:
    """Return one object of a typed class. Raises: PeerError `dlms.access` and others."""
    asked = attributes_of(kind, name)
    got = await session.get(*asked)
    return kind.of([present(at, value) for at, value in zip(asked, got, strict=True)])


async def run_script(session: DlmsSession, table: Obis, number: int) -> None:
    """Run a script of a table. Raises: PeerError `dlms.action_refused` and others."""
    method = Attribute(class_id=scripts.SCRIPT_CLASS, name=table, index=scripts.EXECUTE)
    await session.act(method, long_unsigned(number))


async def set_limit(session: DlmsSession, raw: int, over_seconds: int) -> None:
    """Write the limiter: how long first, so that no older time holds for the new threshold."""
    for index, number in ((limiter.OVER_SECONDS, over_seconds), (limiter.NORMAL, raw)):
        at = Attribute(class_id=limiter.LIMITER_CLASS, name=limiter.LIMITER, index=index)
        await session.set(at, double_long_unsigned(number))
