"""Certificates of robustness checked again from their files, with NumPy only: no torch, no solver, no network code.

Nothing here calls what produced the bounds; ``docs/certificate-format.md`` has the format and the proofs.
"""

from .check import Verification, same_network, verify_certificate
from .claim import Claim
from .packing import pack, unpack

__all__ = ["Claim", "Verification", "pack", "same_network", "unpack", "verify_certificate"]
