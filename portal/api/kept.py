"""Doors that keep what came through them: requests of known peers and our answers, sealed."""

import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from billing.payments.model import Direction
from billing.payments.service import messages
from cloud.store.db import TransientDatabaseError
from portal.api.peers_file import ring_of
from portal.errors import problem, status_of
from portal.site import site_of
from protocols.errors import RefusedError

_LOG = logging.getLogger(__name__)


class KeptRoute(APIRoute):
    """A route whose answers are kept when its request was (`keep_asked`)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the route's own work with the keeping behind it."""
        inner = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                answer = await inner(request)
            except RefusedError as error:
                # said here already, so that a refusal is kept as it goes out
                answer = problem(
                    request, status=status_of(error), code=error.refusal.value,
                    title=error.refusal.value, detail=error.message, fix=error.fix,
                )  # fmt: skip
            if getattr(request.state, "kept", None) is not None:
                await run_in_threadpool(_keep_answer, request, bytes(answer.body))
            return answer

        return answered


def keep_asked(request: Request, channel: str, octets: bytes) -> None:
    """
    Keep a genuine request before anything is done about it; nothing without a key file.

    A request that cannot be kept is not carried out. Raises: as the database does.
    """
    txn = _txn_of(request, octets)
    request.state.kept = (channel, txn)
    _keep(request, Direction.ASKED, octets)


def _keep_answer(request: Request, words: bytes) -> None:
    try:
        _keep(request, Direction.ANSWERED, words)
    except TransientDatabaseError as error:
        # what it answers is done: to hide the answer now would only make the peer ask again
        _LOG.warning("payments.answer_not_kept", extra={"fields": {"cause": type(error).__name__}})


def _keep(request: Request, direction: Direction, words: bytes) -> None:
    site = site_of(request)
    ring = ring_of(site.config.messages_key_file)
    if ring is None:
        return
    channel, txn = request.state.kept
    messages.keep(
        site.db, ring, channel, words, direction=direction, peer_txn_id=txn,
        years=site.config.messages_kept_years, wall_now=site.clock.wall_now(),
    )  # fmt: skip


def _txn_of(request: Request, octets: bytes) -> str:
    """Return the peer's id of the payment that a request is about, where it names one."""
    named: object = request.query_params.get("peer_txn_id", "")
    try:
        body = json.loads(octets) if octets else {}
    except (ValueError, RecursionError):
        body = {}
    if isinstance(body, dict):
        params = body.get("params")
        named = body.get("peer_txn_id") or named
        if isinstance(params, dict):
            named = params.get("id") or named
    fits = isinstance(named, str) and named.isprintable() and len(named) <= 128
    return str(named) if fits else ""
