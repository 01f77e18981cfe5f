"""Use cases of the signer: sign what moves switches, and what keeps agents and meters in order."""

from cloud.signer.service.switches import sign_waiting
from cloud.signer.service.upkeep import sign_waiting as sign_upkeep

__all__ = ["sign_upkeep", "sign_waiting"]
