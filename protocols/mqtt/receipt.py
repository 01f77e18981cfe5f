"""Proof that the cloud has stored something; only then may the edge let go of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from protocols.errors import PeerError
from protocols.identity import CommandId, is_name
from protocols.mqtt.uplink import Stage

VERSION = 1


class Custody(StrEnum):
    """Where the cloud keeps a batch; both relieve the edge of it."""

    STORED = "stored"
    QUARANTINED = "quarantined"
    """The batch as a whole did not parse; its octets are kept and an operator sees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReceipt:
    """Batch `(boot, seq)` is committed. Repeats of the batch get the same receipt again."""

    boot: int
    seq: int
    custody: Custody = Custody.STORED


@dataclass(frozen=True, slots=True, kw_only=True)
class AckReceipt:
    """The ack `(id, stage)` is committed."""

    id: CommandId
    stage: Stage


def receipt_to_plain(receipt: BatchReceipt | AckReceipt) -> dict[str, Any]:
    """Return the value that `envelope.encode` turns into the payload of a receipt."""
    if isinstance(receipt, BatchReceipt):
        return {
            "v": VERSION, "boot": receipt.boot, "seq": receipt.seq,
            "custody": receipt.custody.value,
        }  # fmt: skip
    return {"v": VERSION, "id": receipt.id, "stage": receipt.stage.value}


def receipt_from_plain(value: Any) -> BatchReceipt | AckReceipt:
    """Return the receipt in a decoded payload. Raises: PeerError `receipt.shape`."""
    try:
        if value["v"] != VERSION:
            raise PeerError("receipt.shape", f"version {value['v']!r:.40} is not {VERSION}")
        if "seq" in value:
            if type(value["boot"]) is not int or type(value["seq"]) is not int:
                raise PeerError("receipt.shape", "boot and seq must be integers")
            return BatchReceipt(
                boot=value["boot"], seq=value["seq"], custody=Custody(value["custody"])
            )
        if not is_name(value["id"]):
            raise PeerError("receipt.shape", f"not a command id: {value['id']!r:.60}")
        return AckReceipt(id=CommandId(value["id"]), stage=Stage(value["stage"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PeerError("receipt.shape", f"{type(error).__name__}: {error}"[:200]) from error
