"""How a simulated DL/T 645 meter says no, and the zone in which it tells all its times."""

from datetime import timedelta, timezone

ZONE = timezone(timedelta(hours=8))


class RefusedError(Exception):
    """The meter says no; `word` is what it says."""

    def __init__(self, word: int, octets: int = 1) -> None:
        """Say `word` in so many octets."""
        super().__init__(f"{word:#x}")
        self.word = word.to_bytes(octets, "little")
