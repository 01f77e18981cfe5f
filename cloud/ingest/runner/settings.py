"""Settings of the distributed runner: where the log is, how the bridge and a worker serve."""

from dataclasses import dataclass

from cloud.ingest.agent import IngestConfig
from protocols.mqtt.broker import BrokerAddress

TOPIC = "meterloop.batches"
MAX_RECORD_BYTES = 5 * 1024 * 1024
"""Above the largest payload that the MQTT broker takes (4 MiB), with its headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAddress:
    """
    A Kafka cluster and our topic in it. Files hold the secrets; an empty name is not used.

    `servers` is `host:port` of some brokers, commas between. `partitions` bounds how many workers
    share the work; it can be raised later, never lowered. With `username` sign-in is SCRAM-SHA-512.
    """

    servers: str
    topic: str = TOPIC
    partitions: int = 12
    replication: int = 1
    group: str = "meterloop-ingest"
    username: str = ""
    password_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        """Refuse what no cluster takes. Raises: ValueError."""
        if not self.servers.strip():
            raise ValueError("kafka.servers is empty; write host:port of a broker")
        if self.partitions < 1 or self.replication < 1:
            raise ValueError("kafka.partitions and kafka.replication must be 1 or more")
        if self.username and not self.password_file:
            raise ValueError("kafka.username needs kafka.password_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """
    What the bridge needs.

    Bridges with one `share` divide the concentrators' messages among them; each needs a
    `client_id` of its own. `inflight` messages may wait for Kafka before the broker holds back.
    """

    broker: BrokerAddress
    kafka: KafkaAddress
    client_id: str = "cloud-bridge"
    share: str = "meterloop"
    inflight: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig(IngestConfig):
    """
    What a worker needs: all that the direct agent does, the log, and how much it takes at once.

    A micro-batch is `take` payloads, or what came within `within_wall_seconds`.
    """

    kafka: KafkaAddress
    client_id: str = "cloud-worker"
    take: int = 64
    within_wall_seconds: float = 0.02
    session_wall_seconds: float = 10.0
    """A worker that is silent for so long loses its partitions to the others."""
