"""
What the typed interface classes share: attributes in, one frozen fact out, and back.

A typed object names its class and the attributes it is made of; `of` takes their values in that
order and `encode` gives them back, so that client and meter cannot disagree about an order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from protocols.dlms.obis import Obis, obis_text
from protocols.dlms.reference import Attribute
from protocols.dlms.values import (
    Value,
    as_integer,
    as_items,
    as_octets,
    integer,
    long_unsigned,
    octet_string,
    structure,
)

MOST_ITEMS = 256


class Typed(Protocol):
    """One object of an interface class, as its attributes tell it."""

    CLASS_ID: ClassVar[int]
    INDEXES: ClassVar[tuple[int, ...]]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the object of the values of `INDEXES`. Raises: PeerError `dlms.type`."""
        ...

    def encode(self) -> tuple[Value, ...]:
        """Return the values of `INDEXES`."""
        ...


def attributes_of(kind: type[Typed], name: Obis) -> tuple[Attribute, ...]:
    """Return what is read of one object."""
    return tuple(
        Attribute(class_id=kind.CLASS_ID, name=name, index=index) for index in kind.INDEXES
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptCall:
    """A script of a script table; selector 0 is none."""

    table: Obis
    selector: int

    def encode(self) -> Value:
        """Return the structure."""
        return structure(octet_string(self.table), long_unsigned(self.selector))


def decode_script_call(value: Value) -> ScriptCall:
    """Return which script is called. Raises: PeerError `dlms.type`, `dlms.obis`."""
    table, selector = as_items(value, count=2)
    return ScriptCall(table=decode_name(table), selector=as_integer(selector))


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """The attribute that a monitor or a limiter watches."""

    class_id: int
    name: Obis
    index: int

    def encode(self) -> Value:
        """Return the value_definition."""
        return structure(long_unsigned(self.class_id), octet_string(self.name), integer(self.index))


def decode_monitored(value: Value) -> Monitored:
    """Return what is watched. Raises: PeerError `dlms.type`, `dlms.obis`."""
    class_id, name, index = as_items(value, count=3)
    return Monitored(class_id=as_integer(class_id), name=decode_name(name), index=as_integer(index))


def decode_name(value: Value) -> Obis:
    """Return a logical name. Raises: PeerError `dlms.type`, `dlms.obis`."""
    octets = as_octets(value)
    obis_text(octets)
    return Obis(octets)
