"""From whatever a question ended in to the step that tells it."""

from edge.probe.causes import cause_of
from edge.probe.model import Outcome, Step
from edge.probe.talk import UnreadableError
from protocols.errors import PeerError

_LINE_FAILED = frozenset({"link.refused", "link.busy", "link.babble"})
_SILENT = frozenset({"link.timeout", "link.closed", "hdlc.timeout"})


def step_of(tried: str, error: PeerError | UnreadableError) -> Step:
    """Return the step of a question that brought no answer."""
    if isinstance(error, UnreadableError):
        return Step(
            tried=tried,
            outcome=Outcome.UNREADABLE,
            words=f"{len(error.octets)} octets came that are no such frame: {error}",
            fix="somebody is there: try other baud rates and parity (omit --baud), or another "
            "protocol; nothing but 00 and FF means swapped wires or no termination",
        )
    cause = cause_of(error)
    if error.code in _LINE_FAILED:
        outcome = Outcome.FAILED
    elif error.code in _SILENT:
        outcome = Outcome.SILENT
    else:
        outcome = Outcome.REFUSED
    words = f"{cause.words} ({error.message})" if error.message not in cause.words else cause.words
    return Step(tried=tried, outcome=outcome, words=words[:300], fix=cause.fix)
