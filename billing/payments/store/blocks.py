"""The named SQL of payments."""

from pathlib import Path

from cloud.store.sql import Queries

SQL = Queries(Path(__file__).parents[1] / "sql")
