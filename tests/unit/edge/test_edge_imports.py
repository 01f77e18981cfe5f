"""An agent loads what its meters need and nothing more: two hundred of them fit a small box."""

import subprocess
import sys

import pytest

UNNEEDED = ("numpy", "pymodbus", "yaml", "psycopg", "rich", "cloud", "billing")


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(told.stdout.decode().split())


@pytest.fixture(scope="module")
def agent() -> set[str]:
    """What an agent has loaded before it reads its first DLMS meter."""
    return loaded_by("import edge.run, edge.acquire.drivers")


@pytest.mark.parametrize("name", UNNEEDED)
def test_an_agent_of_dlms_meters_does_not_load(name: str, agent: set[str]) -> None:
    assert name not in agent


def test_the_look_at_modules_sees_what_is_loaded(agent: set[str]) -> None:
    assert {"edge.acquire.dlms", "edge.run", "aiomqtt"} <= agent
    assert {"numpy", "pymodbus"} <= loaded_by("import numpy, pymodbus")
