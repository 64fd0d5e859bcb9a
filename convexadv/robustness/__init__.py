"""How robust a network is: attacks, worst-case margins, certificates, and the accuracy under both."""

from .accuracy import RobustAccuracy, robust_accuracy
from .attacks import AttackResult, attack
from .certificates import RobustnessCertificate, certify
from .margins import MarginResult, worst_case_margin

__all__ = [
    "AttackResult",
    "MarginResult",
    "RobustAccuracy",
    "RobustnessCertificate",
    "attack",
    "certify",
    "robust_accuracy",
    "worst_case_margin",
]
