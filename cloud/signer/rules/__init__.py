"""The signer's own judgement: of commands to switches, and of upkeep."""

from cloud.signer.rules.switches import parse, refuse_signature

__all__ = ["parse", "refuse_signature"]
