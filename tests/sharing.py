"""
How several processes share the suite: a file stays in one of them, whole installations in another.

Two installations side by side starve one another, and what they tell is about the machine. A file
that is torn in two builds its town, its broker and its browser twice. xdist's own groups are no
help: it writes them into the names of tests, which pytest 9.2 no longer reads from there.
"""

from collections import defaultdict

# xdist tells no types: hence both exceptions here
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

WHOLE_STACKS = (
    "tests/acceptance/test_story.py",
    "tests/acceptance/test_replay.py",
    "tests/chaos/",
    "tests/integration/test_platform_stack.py",
)
_LONG = ("tests/acceptance/", "tests/integration/")


def group_of(file: str) -> str:
    """What must stay together: the file, or all files that start a whole installation."""
    return "whole stacks" if file.startswith(WHOLE_STACKS) else file


def turn_of(file: str) -> int:
    """Which files come first: those that take longest, so that nobody waits for them at the end."""
    if file.startswith(WHOLE_STACKS):
        return 0
    return next((1 + n for n, one in enumerate(_LONG) if file.startswith(one)), 1 + len(_LONG))


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process whole groups, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.split("::", 1)[0])


class Places:
    """Which process ran which group; a group in two of them was torn."""

    def __init__(self) -> None:
        """Nothing ran yet."""
        self._seen: defaultdict[str, set[str]] = defaultdict(set)

    def saw(self, file: str, process: str) -> None:
        """Note that a test of this file ran there."""
        self._seen[group_of(file)].add(process)

    @property
    def torn(self) -> list[str]:
        """Return the groups that ran in more than one process."""
        return sorted(group for group, processes in self._seen.items() if len(processes) > 1)
