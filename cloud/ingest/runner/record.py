"""
An arrival as a Kafka record and back.

Key: the concentrator, so that its batches stay in one partition. Value: the payload, untouched.
Headers: version, content type, MQTT topic, batch number beside the payload, wall time of receipt.
"""

from collections.abc import Iterable, Sequence

from cloud.ingest.model import Arrival
from protocols.errors import PeerError
from protocols.identity import BatchId
from protocols.mqtt import topics
from protocols.timeline import TimeScale, from_ms, to_ms

VERSION = b"1"
RECORD = "kafka.record"
"""Code of a record that no bridge of ours wrote."""

Headers = Sequence[tuple[str, bytes]]


def to_record(arrival: Arrival) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return key, value and headers. Raises: PeerError `mqtt.topic`."""
    headers = [
        ("v", VERSION),
        ("content_type", arrival.content_type.encode(errors="replace")),
        ("topic", arrival.topic.encode()),
        ("wall_ms", str(to_ms(arrival.wall_now)).encode()),
    ]
    if arrival.hint is not None:
        headers.append(("boot", str(arrival.hint.boot).encode()))
        headers.append(("seq", str(arrival.hint.seq).encode()))
    return topics.concentrator_of(arrival.topic).encode(), arrival.payload, headers


def from_record(
    value: bytes | None, headers: Iterable[tuple[str, bytes]], *, scale: TimeScale
) -> Arrival:
    """
    Return the arrival in a record, at the time at which the bridge received it.

    Raises: PeerError `kafka.record` when the record is none of ours.
    """
    named = dict(headers)
    try:
        if named["v"] != VERSION:
            raise PeerError(RECORD, f"version {named['v']!r:.40} is not {VERSION!r}")
        topic = named["topic"].decode()
        concentrator = topics.concentrator_of(topic)
        wall_now = from_ms(int(named["wall_ms"]))
        hint = None
        if "boot" in named:
            hint = BatchId(
                concentrator=concentrator, boot=int(named["boot"]), seq=int(named["seq"])
            )
        return Arrival(
            payload=value or b"",
            content_type=named["content_type"].decode(),
            topic=topic,
            hint=hint,
            now=scale.at(wall_now),
            wall_now=wall_now,
        )
    except KeyError as error:
        raise PeerError(RECORD, f"header {error} is missing") from error
    except (ValueError, OverflowError, AttributeError, TypeError) as error:
        raise PeerError(RECORD, str(error)[:200]) from error
