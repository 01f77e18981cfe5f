"""
How we reach Kafka: sign-in, the topic with its partitions, which cluster this is.

The topic is declared before anybody reads: one that made itself would have a single partition and
leave all workers but one idle.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.admin import (  # type: ignore[import-untyped]
    AIOKafkaAdminClient,
    NewPartitions,
    NewTopic,
)
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from cloud.ingest.runner.settings import MAX_RECORD_BYTES, KafkaAddress
from cloud.store.rim import rest

_LOG = logging.getLogger(__name__)
_REQUEST_MS = 10_000
_RETENTION_MS = 24 * 3600 * 1000


def security_of(address: KafkaAddress) -> dict[str, Any]:
    """Return how clients of aiokafka sign in: nothing, TLS, SCRAM, or both."""
    context = ssl_of(address)
    options: dict[str, Any] = {"security_protocol": "PLAINTEXT"}
    if context is not None:
        options = {"security_protocol": "SSL", "ssl_context": context}
    if address.username:
        options["security_protocol"] = "SASL_SSL" if context is not None else "SASL_PLAINTEXT"
        options |= {
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": address.username,
            "sasl_plain_password": password_of(address),
        }
    return options


def ssl_of(address: KafkaAddress) -> ssl.SSLContext | None:
    """Return the TLS context, None where the address names no authority."""
    if not address.tls_ca:
        return None
    context = ssl.create_default_context(cafile=address.tls_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if address.tls_cert:
        context.load_cert_chain(address.tls_cert, address.tls_key or None)
    return context


def password_of(address: KafkaAddress) -> str:
    """Return the secret in the address's file."""
    return Path(address.password_file).read_text(encoding="utf-8").strip()


def producer_of(address: KafkaAddress) -> AIOKafkaProducer:
    """
    Return an idempotent producer that takes nothing for written before all in-sync replicas did.

    Payloads are compressed by the edge; they go as they are.
    """
    return AIOKafkaProducer(
        bootstrap_servers=address.servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=1 << 20,
        max_request_size=MAX_RECORD_BYTES,
        request_timeout_ms=_REQUEST_MS,
        retry_backoff_ms=100,
        **security_of(address),
    )


@asynccontextmanager
async def _admin(address: KafkaAddress) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=address.servers, request_timeout_ms=_REQUEST_MS, **security_of(address)
    )
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def declare(address: KafkaAddress) -> str:
    """
    Make the topic, or give it the partitions it lacks; return the cluster's id.

    Raises: KafkaError where the cluster is away or refuses.
    """
    async with _admin(address) as admin:
        wanted = NewTopic(
            address.topic,
            num_partitions=address.partitions,
            replication_factor=address.replication,
            topic_configs={
                "retention.ms": str(_RETENTION_MS),
                "max.message.bytes": str(MAX_RECORD_BYTES),
                "min.insync.replicas": str(max(1, address.replication - 1)),
                "compression.type": "producer",
                "cleanup.policy": "delete",
            },
        )
        with suppress(TopicAlreadyExistsError):
            _checked(await admin.create_topics([wanted]))
        (found,) = await admin.describe_topics([address.topic])
        if len(found["partitions"]) not in range(1, address.partitions):
            return await _cluster_id(admin)
        grown = {address.topic: NewPartitions(total_count=address.partitions)}
        _checked(await admin.create_partitions(grown))
        _LOG.info("kafka.topic.grown", extra={"fields": {"partitions": address.partitions}})
        return await _cluster_id(admin)


async def cluster_id(address: KafkaAddress) -> str:
    """Return the id that the cluster's storage was formatted with. Raises: KafkaError."""
    async with _admin(address) as admin:
        return await _cluster_id(admin)


async def _cluster_id(admin: AIOKafkaAdminClient) -> str:
    return str((await admin.describe_cluster())["cluster_id"])


def _checked(answer: Any) -> None:
    """Raise what the answer to a change says per topic."""
    for topic, code, *_ in answer.topic_errors:
        if code:
            raise for_code(code)(topic)


async def rest_about(stop: asyncio.Event, seconds: float) -> None:
    """Rest a quarter more or less than said, so that many do not come back at once."""
    await rest(stop, seconds * (0.75 + secrets.randbelow(501) / 1000))


async def declared(address: KafkaAddress, stop: asyncio.Event) -> bool:
    """Declare the topic as soon as the cluster answers; False when `stop` came first."""
    pause = 0.1
    while not stop.is_set():
        try:
            await declare(address)
        except (KafkaError, OSError) as error:
            _LOG.warning("kafka.away", extra={"fields": {"cause": str(error)[:200]}})
            await rest_about(stop, pause)
            pause = min(pause * 2, 3.0)
        else:
            return True
    return False
