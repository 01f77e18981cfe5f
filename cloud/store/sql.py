"""Named SQL blocks in `.sql` files beside the store that runs them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import LiteralString

_NAME = re.compile(r"^-- ([a-z][a-z0-9_]*)$")


class Queries(Mapping[str, LiteralString]):
    """
    The blocks of every `.sql` file in one folder, by name.

    A block starts with a line `-- its_name`, then a comment line that tells rows and locks, then
    the statement. Raises ValueError at import when two blocks share a name: a bug, not an input.
    """

    def __init__(self, folder: Path) -> None:
        """Read all blocks of `folder`."""
        self.folder = folder
        self._blocks: dict[str, LiteralString] = {}
        for file in sorted(folder.glob("*.sql")):
            for name, text in _blocks(file.read_text(encoding="utf-8")):
                if name in self._blocks:
                    raise ValueError(f"{file}: block {name} is defined twice")
                # trusted text: the files are ours and parameters travel apart
                self._blocks[name] = text
        if not self._blocks:
            raise ValueError(f"{folder} holds no SQL blocks")

    def __getitem__(self, name: str) -> LiteralString:
        """Return the text of a block."""
        return self._blocks[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over names."""
        return iter(self._blocks)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._blocks)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    name, lines = "", list[str]()
    for line in text.splitlines():
        found = _NAME.match(line)
        if found:
            if name:
                yield name, "\n".join(lines)
            name, lines = found.group(1), []
        elif name:
            lines.append(line)
    if name:
        yield name, "\n".join(lines)
