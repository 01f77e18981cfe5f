"""
A gurux-dlms client that cares for one meter: brings an image or new keys; JSON in, JSON out.

Runs in the peers' own environment and imports nothing of the product.
"""

import json
import sys

from gurux_client import Reader
from gurux_dlms import GXByteBuffer
from gurux_dlms.enums import DataType
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.objects import GXDLMSData, GXDLMSImageTransfer, GXDLMSSecuritySetup
from gurux_dlms.objects.enums import GlobalKeyType


def bring_image(job):
    """Transfer, verify and activate; then tell what the meter says of each step."""
    reader = Reader(job)
    reader.associate()
    transfer = GXDLMSImageTransfer("0.0.44.0.0.255")
    octets, seen = bytes.fromhex(job["image"]), {}
    seen["block"] = reader.read(transfer, 2)
    seen["enabled"] = bool(reader.read(transfer, 5))
    reader.exchange(transfer.imageTransferInitiate(reader.client, job["identifier"], len(octets)))
    size = transfer.imageBlockSize
    numbers = range(-(-len(octets) // size))
    lost = set(job["lost"])
    for number in sorted(set(numbers) - lost):
        reader.exchange(block(reader, transfer, octets, number))
    seen["missing"] = [at for at, bit in enumerate(blocks(reader, transfer)) if bit == "0"]
    seen["first_missing"] = reader.read(transfer, 4)
    for number in sorted(lost):
        reader.exchange(block(reader, transfer, octets, number))
    seen["blocks"] = "".join(blocks(reader, transfer))
    seen["status"] = [int(reader.read(transfer, 6))]
    for step in (transfer.imageVerify, transfer.imageActivate):
        reader.exchange(step(reader.client))
        seen["status"].append(int(reader.read(transfer, 6)))
    reader.release()
    reader.line.close()
    return seen


def block(reader, transfer, octets, number):
    """Write one block; the library's own writer numbers all frames ahead, so none can be left."""
    size, body = transfer.imageBlockSize, GXByteBuffer()
    body.setUInt8(DataType.STRUCTURE)
    body.setUInt8(2)
    _GXCommon.setData(None, body, DataType.UINT32, number)
    text = octets[number * size : (number + 1) * size]
    _GXCommon.setData(None, body, DataType.OCTET_STRING, text)
    return reader.client.method(transfer, 2, body, DataType.ARRAY)


def blocks(reader, transfer):
    return [bit for bit in str(reader.read(transfer, 3)) if bit in "01"]


def bring_keys(job):
    """Transfer new keys under the old ones, then associate with the new and with the old."""
    reader = Reader(job)
    reader.associate()
    setup = GXDLMSSecuritySetup("0.0.43.0.0.255")
    keys = [
        (GlobalKeyType.UNICAST_ENCRYPTION, bytes.fromhex(job["new_encryption_key"])),
        (GlobalKeyType.AUTHENTICATION, bytes.fromhex(job["new_authentication_key"])),
    ]
    reader.exchange(setup.globalKeyTransfer(reader.client, bytes.fromhex(job["master"]), keys))
    reader.release()
    reader.line.close()
    counter = reader.client.ciphering.invocationCounter + 1
    new = {
        "encryption_key": job["new_encryption_key"],
        "authentication_key": job["new_authentication_key"],
    }
    return {"new": name_of({**job, **new, "counter": counter}), "old": name_of(job)}


def name_of(job):
    """Return the meter's name, or nothing when it does not let us in."""
    reader = Reader(job)
    try:
        reader.associate()
        return bytes(reader.read(GXDLMSData("0.0.42.0.0.255"), 2)).decode()
    except Exception:  # the library raises what comes to hand
        return ""
    finally:
        reader.line.close()


if __name__ == "__main__":
    job = json.load(sys.stdin)
    # the library prints to stdout what it does, which would end up in the answer
    answers, sys.stdout = sys.stdout, sys.stderr
    done = {"image": bring_image, "keys": bring_keys}[job["expect"]](job)
    json.dump(done, answers)
