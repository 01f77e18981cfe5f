"""
What a simulated meter does by itself: scripts, a limiter and a monitor that call them, a schedule.

The limiter watches the power. Once that has been above its threshold for as long as it allows, the
script of its action runs, most often the one that opens the switch; once below, the other one.
What runs and what was set is in the meter's memory. Nothing here has a clock of its own: whoever
looks at the meter, or its world's own beat, lets it catch up with its time.
*Source*: IEC 62056-6-2 class_id 9, 21, 22, 71.
"""

from collections.abc import Callable
from dataclasses import replace

from protocols.dlms.classes import disconnect, limiter, scripts
from protocols.dlms.classes.disconnect import Trigger
from protocols.dlms.classes.limiter import Crossing, EmergencyProfile, Limiter, RegisterMonitor
from protocols.dlms.classes.register import CHANNEL_NAME
from protocols.dlms.classes.register import CLASS_ID as REGISTER_CLASS
from protocols.dlms.classes.scripts import (
    CLOSE_SCRIPT,
    DISCONNECT_SCHEDULE,
    DISCONNECT_SCRIPTS,
    OPEN_SCRIPT,
    Script,
    ScriptAction,
    ScriptTable,
    Service,
    SingleActionSchedule,
)
from protocols.dlms.classes.typed import Monitored, ScriptCall
from protocols.dlms.obis import DISCONNECT_CONTROL, Obis
from protocols.dlms.reference import Access, Attribute
from protocols.dlms.values import Value, as_integer, integer
from protocols.reading import Channel
from simulators.meter.dlms_parts import Part, refuse
from simulators.meter.event_book import LIMIT_CHANGED, LIMIT_EXCEEDED, LIMIT_OK, SWITCH
from simulators.meter.state import SimulatedMeter

_THRESHOLD, _OVER, _UNDER = "limiter/threshold", "limiter/over", "limiter/under"
_SINCE, _ABOVE = "limiter/since_ms", "limiter/above"
_NEVER = bytes.fromhex("ffffffffffffffffffffffff")
_POWER = Monitored(class_id=REGISTER_CLASS, name=CHANNEL_NAME[Channel.POWER_W], index=2)
_OPENS = ScriptCall(table=DISCONNECT_SCRIPTS, selector=OPEN_SCRIPT)
_NOTHING = ScriptCall(table=DISCONNECT_SCRIPTS, selector=0)
_MOST = 0xFFFFFFFF
UNLIMITED = 0
"""A threshold of zero is no limit."""


class Automatics:
    """Scripts, limiter, monitor and schedule of one meter with a switch."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Go on with what the meter remembers; without that nothing is limited."""
        self._meter = meter
        self._memory = meter.memory
        meter.beat = self.look

    def part(self) -> Part:
        """Return the objects."""
        part = Part()
        part.show(ScriptTable, DISCONNECT_SCRIPTS, lambda _: self.table())
        part.let_act(scripts.SCRIPT_CLASS, DISCONNECT_SCRIPTS, self._execute)
        part.show(SingleActionSchedule, DISCONNECT_SCHEDULE, lambda _: self._schedule())
        part.show(RegisterMonitor, limiter.MONITOR, lambda _: self._monitor())
        part.show(Limiter, limiter.LIMITER, lambda _: self.limiter())
        for index, name in (
            (limiter.NORMAL, _THRESHOLD),
            (limiter.OVER_SECONDS, _OVER),
            (limiter.UNDER_SECONDS, _UNDER),
        ):
            key = (limiter.LIMITER_CLASS, bytes(limiter.LIMITER), index)
            part.writers[key] = self._writer(name)
        return part

    def table(self) -> ScriptTable:
        """Return the disconnect scripts."""
        return ScriptTable(
            scripts=tuple(
                Script(number=number, actions=(_switching(method),))
                for number, method in (
                    (OPEN_SCRIPT, disconnect.REMOTE_DISCONNECT),
                    (CLOSE_SCRIPT, disconnect.REMOTE_RECONNECT),
                )
            )
        )

    def limiter(self) -> Limiter:
        """Return the limiter as it stands."""
        threshold = self._memory.remembered(_THRESHOLD)
        return Limiter(
            monitored=_POWER,
            active=threshold,
            normal=threshold,
            emergency=0,
            over_seconds=self._memory.remembered(_OVER),
            under_seconds=self._memory.remembered(_UNDER),
            profile=EmergencyProfile(number=0, begins=_NEVER, seconds=0),
            groups=(),
            in_emergency=False,
            actions=Crossing(up=_OPENS, down=_NOTHING),
        )

    def look(self) -> None:
        """Let the limiter see the power of this moment, and act if its time has come."""
        threshold = self._memory.remembered(_THRESHOLD)
        if threshold == UNLIMITED:
            return
        now = self._meter.snapshot()
        above = now.power_w > threshold
        since = self._memory.remembered(_SINCE)
        if above == bool(self._memory.remembered(_ABOVE)):
            if since:
                self._memory.remember(_SINCE, 0)
            return
        if not since:
            self._memory.remember(_SINCE, now.true_ms)
            since = now.true_ms
        wait = self._memory.remembered(_OVER if above else _UNDER)
        if now.true_ms - since < wait * 1000:
            return
        self._memory.remember(_SINCE, 0)
        self._memory.remember(_ABOVE, int(above))
        self._meter.book.note(SWITCH, LIMIT_EXCEEDED if above else LIMIT_OK)
        actions = self.limiter().actions
        self._call(actions.up if above else actions.down, Trigger.LOCAL_DISCONNECT)

    def _call(self, call: ScriptCall, trigger: Trigger) -> None:
        """Run a script as the meter's own doing; a call of script 0 is none."""
        if call.selector == OPEN_SCRIPT:
            self._meter.by_itself(trigger)

    def _execute(self, method: int, parameter: Value | None) -> None:
        """Run a script because somebody on the line says so."""
        if method != scripts.EXECUTE or parameter is None:
            raise refuse(Access.UNDEFINED)
        script = self.table().find(as_integer(parameter))
        if script is None:
            raise refuse(Access.SCOPE_VIOLATED)
        for action in script.actions:
            opens = action.target.index == disconnect.REMOTE_DISCONNECT
            trigger = Trigger.REMOTE_DISCONNECT if opens else Trigger.REMOTE_RECONNECT
            if not self._meter.remote(trigger):
                raise refuse()

    def _writer(self, name: str) -> Callable[[Value], None]:
        def write(value: Value) -> None:
            number = as_integer(value)
            if not 0 <= number <= _MOST:
                raise refuse(Access.TYPE_UNMATCHED)
            self._memory.remember(name, number)
            self._memory.remember(_SINCE, 0)
            self._memory.remember(_ABOVE, 0)
            self._meter.book.note(SWITCH, LIMIT_CHANGED)

        return write

    def _schedule(self) -> SingleActionSchedule:
        return SingleActionSchedule(script=_NOTHING, kind=1, times=())

    def _monitor(self) -> RegisterMonitor:
        current = self.limiter()
        thresholds = () if current.active == UNLIMITED else (current.active,)
        return replace(
            _NO_MONITOR, thresholds=thresholds, actions=(current.actions,) * len(thresholds)
        )


_NO_MONITOR = RegisterMonitor(thresholds=(), monitored=_POWER, actions=())


def _switching(method: int) -> ScriptAction:
    name: Obis = DISCONNECT_CONTROL
    target = Attribute(class_id=disconnect.CLASS_ID, name=name, index=method)
    return ScriptAction(service=Service.EXECUTE, target=target, parameter=integer(0))
