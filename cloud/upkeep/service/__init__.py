"""
Use cases of upkeep, one module per subject; this is the door that other contexts use.

Functions that take `db` open one transaction; those that take `conn` join the caller's.
"""

from cloud.upkeep.service.acks import record_ack
from cloud.upkeep.service.conduct import (
    advance,
    expire_errands,
    outgoing,
    take_signer_refusals,
)
from cloud.upkeep.service.images import block_of, image_of, images, upload_image
from cloud.upkeep.service.rollouts import (
    approve,
    ask,
    concentrators_as_targets,
    errands_of,
    meters_of_model,
    rollout_of,
    rollouts,
    targets_of,
    withdraw,
)

__all__ = [
    "advance",
    "approve",
    "ask",
    "block_of",
    "concentrators_as_targets",
    "errands_of",
    "expire_errands",
    "image_of",
    "images",
    "meters_of_model",
    "outgoing",
    "record_ack",
    "rollout_of",
    "rollouts",
    "take_signer_refusals",
    "targets_of",
    "upload_image",
    "withdraw",
]
