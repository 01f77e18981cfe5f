"""
How the objects of a simulated meter come together: each part tells, writes and acts for its own.

A part is made once for a meter and shown to every association that may see it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protocols.dlms.classes import clock
from protocols.dlms.classes.typed import Typed
from protocols.dlms.obis import Obis
from protocols.dlms.reference import Access, Attribute, Got
from protocols.dlms.serving import AccessRefusedError
from protocols.dlms.values import Value, octet_string
from protocols.timeline import from_ms
from simulators.meter.state import Snapshot

DEVIATION = -480
"""Minutes from the meter's local time to UTC: China, no daylight saving."""

Key = tuple[int, bytes, int]
"""Class, name and index of an attribute."""
Teller = Callable[[Snapshot], Value]
Writer = Callable[[Value], None]
Selector = Callable[[Attribute, Snapshot], Got]
Method = Callable[[int, Value | None], None]


@dataclass(slots=True)
class Part:
    """What some objects offer, by attribute; methods by object."""

    tellers: dict[Key, Teller] = field(default_factory=dict)
    writers: dict[Key, Writer] = field(default_factory=dict)
    selectors: dict[Key, Selector] = field(default_factory=dict)
    """Attributes that may be asked for in part."""
    methods: dict[tuple[int, bytes], Method] = field(default_factory=dict)

    def tell(self, class_id: int, name: Obis, index: int, teller: Teller) -> None:
        """Offer one attribute for reading."""
        self.tellers[class_id, bytes(name), index] = teller

    def tell_all(self, class_id: int, name: Obis, tellers: dict[int, Callable[[], Value]]) -> None:
        """Offer attributes that do not depend on a snapshot."""
        for index, tell in tellers.items():
            self.tell(class_id, name, index, _always(tell))

    def show(self, kind: type[Typed], name: Obis, current: Callable[[Snapshot], Typed]) -> None:
        """Offer a typed object, made anew from each snapshot."""
        for at, index in enumerate(kind.INDEXES):
            self.tell(kind.CLASS_ID, name, index, _nth(current, at))

    def let_act(self, class_id: int, name: Obis, method: Method) -> None:
        """Offer the methods of one object."""
        self.methods[class_id, bytes(name)] = method


def _always(tell: Callable[[], Value]) -> Teller:
    return lambda _: tell()


def _nth(current: Callable[[Snapshot], Typed], at: int) -> Teller:
    return lambda now: current(now).encode()[at]


def stamp(milliseconds: int) -> Value:
    """Return a device time as the meter tells it."""
    return octet_string(clock.encode_moment(from_ms(milliseconds), deviation=DEVIATION))


def refuse(reason: Access = Access.OTHER) -> AccessRefusedError:
    """Return what a method raises to say no."""
    return AccessRefusedError(reason)


def union(parts: Sequence[Part]) -> Part:
    """Return one part with all that `parts` offer."""
    whole = Part()
    for part in parts:
        whole.tellers |= part.tellers
        whole.writers |= part.writers
        whole.selectors |= part.selectors
        whole.methods |= part.methods
    return whole
