"""How robust a network is: attacks."""

from .attacks import AttackResult, attack

__all__ = ["AttackResult", "attack"]
