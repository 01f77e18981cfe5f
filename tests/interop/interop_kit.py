"""Peers in their own processes and environment, and the meter they visit."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "peers"
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
START, END = ORIGIN - timedelta(hours=5), ORIGIN - timedelta(hours=2)
_SECONDS = 90


def peer_python() -> Path:
    """Return the peers' own interpreter; the test is skipped where it was not installed."""
    given = os.environ.get("METERLOOP_INTEROP_PYTHON")
    python = Path(given) if given else ROOT / ".venv-interop" / "bin" / "python"
    if not python.exists():
        pytest.skip("the peers are not installed; run `make interop`")
    return python


async def run_peer(script: str, job: dict[str, Any]) -> dict[str, Any]:
    """Give a peer its job and return what it saw; what it complained of fails the test."""
    peer = await asyncio.create_subprocess_exec(
        peer_python(), SCRIPTS / script, stdin=-1, stdout=-1, stderr=-1
    )
    try:
        async with asyncio.timeout(_SECONDS):
            out, complaints = await peer.communicate(json.dumps(job).encode())
    finally:
        if peer.returncode is None:
            peer.kill()
            await peer.wait()
    assert peer.returncode == 0, complaints.decode(errors="replace")[-3000:]
    seen: dict[str, Any] = json.loads(out)
    return seen
