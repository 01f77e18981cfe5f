"""
Association LN, class 15: the proof of both sides, and the list of all objects that a client sees.

Meters list classes that no book knows: an entry is taken for what it is, whatever its class, and
one that is malformed is counted and left out, so that one strange object hides no other.
*Source*: IEC 62056-6-2 class_id 15, attribute 2 object_list and method 1; IEC 62056-5-3 clause 5.7.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from protocols.dlms.obis import ASSOCIATION, Obis, obis_text
from protocols.dlms.reference import Attribute
from protocols.dlms.values import (
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError

CLASS_ID = 15
REPLY_TO_HLS = Attribute(class_id=CLASS_ID, name=ASSOCIATION, index=1)
"""Parameter: octet string f(StoC), pass 3. Returns: octet string f(CtoS), pass 4."""
OBJECT_LIST = Attribute(class_id=CLASS_ID, name=ASSOCIATION, index=2)
KNOWN_CLASSES = frozenset({1, 3, 4, 5, 7, 8, 9, 15, 17, 18, 20, 21, 22, 40, 64, 70, 71, 112, 115})


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEntry:
    """One object of a meter."""

    class_id: int
    version: int
    name: Obis

    @property
    def known(self) -> bool:
        """Tell whether this code knows what its attributes mean."""
        return self.class_id in KNOWN_CLASSES

    def encode(self) -> Value:
        """Return the entry, with no access rights told."""
        return structure(
            long_unsigned(self.class_id),
            unsigned(self.version),
            octet_string(self.name),
            structure(array(()), array(())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectView:
    """What an association shows; `malformed` entries are not among the objects."""

    objects: tuple[ObjectEntry, ...]
    malformed: int = 0

    def find(self, class_id: int) -> tuple[ObjectEntry, ...]:
        """Return the objects of one class."""
        return tuple(entry for entry in self.objects if entry.class_id == class_id)


def decode_object_list(value: Value) -> ObjectView:
    """Return all objects. Raises: PeerError `dlms.type` when it is no list at all."""
    objects: list[ObjectEntry] = []
    malformed = 0
    for item in as_items(value):
        try:
            members = as_items(item)
            name = as_octets(members[2])
            obis_text(name)
            objects.append(
                ObjectEntry(
                    class_id=as_integer(members[0]),
                    version=as_integer(members[1]),
                    name=Obis(name),
                )
            )
        except (PeerError, IndexError):
            malformed += 1
    return ObjectView(objects=tuple(objects), malformed=malformed)


def encode_object_list(objects: Iterable[ObjectEntry]) -> Value:
    """Return attribute 2."""
    return array(entry.encode() for entry in objects)
