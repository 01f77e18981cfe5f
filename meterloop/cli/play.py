"""`meterloop demo`: a small town on this machine, and the story of one cut."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.config import default_data_folder
from meterloop.embedded.spawn import EmbeddedError, FolderLock

DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of all files. Default: the user's data folder."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    *,
    data: DataFolder = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No terminal: plain lines, one JSON summary.")
    ] = False,
    leave: Annotated[
        bool, typer.Option("--exit", help="End when the story has ended; non-zero if it failed.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove the folder and end.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which town.")] = 1,
    speed: Annotated[int, typer.Option(min=1, help="Business seconds per wall second.")] = 4320,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Portal; 0 is chosen free.")] = 0,
    dlt645: Annotated[int, typer.Option(min=0, help="So many DL/T 645 meters in the town.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Run the demo town: meters, broker, database, cloud, billing and portal."""
    with failures_told(as_json=as_json or headless):
        folder = data or default_data_folder()
        if clean:
            removed = remove_data(folder)
            text = f"{'removed' if removed else 'nothing to remove in'} {folder}"
            say({"removed": removed, "data": str(folder)}, as_json=as_json, text=text)
            return
        from meterloop.demo.run import DemoOptions, play

        options = DemoOptions(
            data=folder,
            headless=headless,
            leave=leave,
            seed=seed,
            speed=speed,
            port=port,
            dlt645=dlt645,
            as_json=as_json,
        )
        raise typer.Exit(play(options))


def remove_data(folder: Path) -> bool:
    """
    Remove a data folder of ours and return whether there was one.

    Raises: EmbeddedError when the folder is in use, or holds no installation of ours.
    """
    if not folder.exists():
        return False
    marks = ("installation.toml", "run/lock")
    if not any((folder / mark).exists() for mark in marks):
        raise EmbeddedError(
            "folder.foreign",
            f"{folder} is no data folder of Meterloop.",
            fix="name the folder of the demo with --data DIR, or remove it by hand",
        )
    with FolderLock(folder / "run" / "lock"):
        shutil.rmtree(folder)
    return True
