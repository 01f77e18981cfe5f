"""How batches reach the service: `direct` from MQTT; what comes and goes is one for all roads."""

from cloud.ingest.agent.answers import Status
from cloud.ingest.agent.direct import IngestConfig, run

__all__ = ["IngestConfig", "Status", "run"]
