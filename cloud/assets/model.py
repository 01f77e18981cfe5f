"""Things on the network and where they hang."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId

NEVER_MS = (1 << 42) - 1
"""After every instant there can be."""


class Refusal(StrEnum):
    """Why a change of assets is refused."""

    DIFFERS = "assets.differs"
    """The id is known already with other attributes."""
    OVERLAP = "assets.overlap"
    """Meter or usage point is taken at that time."""
    NOT_INSTALLED = "assets.not_installed"
    UNKNOWN = "assets.unknown"
    RATIO = "assets.ratio"
    """The factor, its instant or the reason for it cannot be."""
    DECIDED = "assets.decided"
    SAME_PERSON = "assets.same_person"


class PointKind(StrEnum):
    """What is metered at a usage point."""

    CUSTOMER = "customer"
    HEAD = "head"
    """All that flows through one transformer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A distribution transformer; `unit` is who looks after it."""

    id: TransformerId
    name: str = ""
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePoint:
    """Where supply is metered. `zone` is its IANA zone; `capacity_w` what the contract allows."""

    id: UsagePointId
    kind: PointKind
    transformer: TransformerId
    zone: str
    capacity_w: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concentrator:
    """A gateway that polls meters."""

    id: ConcentratorId
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """
    A device. *Units*: `max_w` is what it can physically count, watts.

    `rollover_wh` is the first value the register cannot show (10**8 kWh digits: 10**11 Wh), None
    where it never rolls over. `interval_seconds` is None for a meter without a load profile.
    """

    id: MeterId
    model: str
    protocol: str
    has_relay: bool
    can_close_remotely: bool
    interval_seconds: int | None = None
    control_mode: int | None = None
    rollover_wh: int | None = None
    max_w: int = 100_000
    keeps_power: bool = False
    """Whether the meter itself can be told to refuse trips (D8)."""
    token_kind: str = ""
    """Which tokens it takes, a `protocols.mqtt.downlink.TokenKind`; empty where it takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """
    A meter at a usage point over `[installed_at, removed_at)`.

    `initial_wh` and `final_wh` are what the fitter read off the meter, where written down.
    """

    meter: MeterId
    usage_point: UsagePointId
    concentrator: ConcentratorId
    installed_at: datetime
    removed_at: datetime | None = None
    initial_wh: int | None = None
    final_wh: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """
    By what a meter's figures are multiplied from `valid_from` on: current and voltage transformers.

    `register_wh` is what the meter showed then, None where nobody wrote it down.
    """

    usage_point: UsagePointId
    valid_from: datetime
    numerator: int
    denominator: int = 1
    register_wh: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioProposal:
    """
    A change of a factor as one person proposes it; `verified` is None until another decides.

    `why` is what who refused it said.
    """

    id: int
    ratio: Ratio
    reason: str
    proposed_by: str
    proposed_at: datetime
    verified: bool | None = None
    why: str = ""
    decided_by: str = ""
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastChange:
    """Something that was told of a usage point of a time that had passed; `since` it holds."""

    usage_point: UsagePointId
    since: datetime
    reference: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Many things at once, as imports and the demo bring them."""

    transformers: tuple[Transformer, ...] = ()
    usage_points: tuple[UsagePoint, ...] = ()
    concentrators: tuple[Concentrator, ...] = ()
    meters: tuple[Meter, ...] = ()
    installations: tuple[Installation, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One installation with its meter and its usage point."""

    installation: Installation
    meter: Meter
    usage_point: UsagePoint

    @property
    def concentrator(self) -> ConcentratorId:
        """Return who polls the meter."""
        return self.installation.concentrator


@dataclass(frozen=True, slots=True, kw_only=True)
class Stays:
    """
    What hung at usage points, oldest first for each. *Shape*: equal columns, one place a stay.

    `point` indexes the usage points asked for. *Units*: ms, NEVER_MS while it lasts; s, 0 for a
    meter without load profile.
    """

    point: NDArray[np.int64]
    since_ms: NDArray[np.int64]
    until_ms: NDArray[np.int64]
    seconds: NDArray[np.int64]
    zones: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChange:
    """A meter that came to a concentrator, or left it, lately; `seconds` 0 has no load profile."""

    concentrator: ConcentratorId
    seconds: int
    meter: MeterId
    installed_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """
    What hangs on which concentrator. `steady` counts meters that were there all along.

    `steady` is by (concentrator, seconds of its intervals, 0 without load profile).
    """

    steady: Mapping[tuple[ConcentratorId, int], int]
    changes: tuple[FleetChange, ...]
