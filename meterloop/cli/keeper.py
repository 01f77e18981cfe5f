"""What `meterloop migrate` says of the server that keeps readings: what it found, what it means."""

from cloud.ingest.model import Keeper

_OURS = "past days are packed, rolled up and dropped by Meterloop itself"
_EDITIONS = {
    "apache": "continuous aggregates, columnstore, policies and jobs are not in it",
    "timescale": (
        "continuous aggregates, columnstore, policies and jobs are in it; none is used: "
        "their licence is not free software's, so whoever wants them adds them by hand"
    ),
}


def told(keeper: Keeper, *, wanted: bool) -> dict[str, str | bool]:
    """
    Return what was found, for programs: who keeps rows of open days, the extension, the meaning.

    `wanted` is `database.hypertable`; `fix` is empty where it and what was found agree.
    """
    return {
        "kept_by": "timescaledb" if keeper.hypertable else "partitions",
        "timescaledb": keeper.installed or keeper.offered,
        "loaded": keeper.loaded,
        "installed": bool(keeper.installed),
        "edition": keeper.edition,
        "means": _meaning(keeper),
        "fix": _fix(keeper) if wanted and not keeper.hypertable else "",
    }


def in_words(readings: dict[str, str | bool]) -> str:
    """Return the same for people, a line each."""
    version, edition = readings["timescaledb"], readings["edition"] or "unknown"
    if readings["kept_by"] == "timescaledb":
        first = f"hypertable of TimescaleDB {version}, edition {edition}"
    elif readings["installed"]:
        first = f"a partition each; TimescaleDB {version}, edition {edition}, is here and not used"
    elif readings["loaded"]:
        first = f"a partition each; TimescaleDB {version} is loaded and not used"
    elif version:
        first = f"a partition each; TimescaleDB {version} lies on the server and is not loaded"
    else:
        first = "a partition each; this server has no TimescaleDB"
    lines = [f"readings of open days: {first}", f"  {readings['means']}"]
    return "\n".join(lines + ([f"  fix: {readings['fix']}"] if readings["fix"] else []))


def _meaning(keeper: Keeper) -> str:
    if not keeper.hypertable:
        return f"a day of rows is a partition; {_OURS}"
    edition = _EDITIONS.get(keeper.edition, "what its licence holds is not known here")
    return f"a day of rows is a chunk; {edition}; {_OURS}"


def _fix(keeper: Keeper) -> str:
    if keeper.loaded:
        return (
            "database.hypertable was asked for after the tables were made; it acts on a new "
            "database alone, and partitions do the same: remove the key"
        )
    if keeper.offered:
        return "add timescaledb to shared_preload_libraries, then begin with a new database"
    return (
        "install TimescaleDB on the server, or remove database.hypertable: partitions do the same"
    )
