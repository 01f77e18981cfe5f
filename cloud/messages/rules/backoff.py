"""How long to wait before a message is sent again."""

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 60.0


def next_pause(tries: int) -> float:
    """Return wall seconds to wait after `tries` earlier failures: doubling, at most a minute."""
    return min(_FIRST_SECONDS * 2.0 ** min(max(tries, 0), 10), _LONGEST_SECONDS)
