"""How robust a network is: attacks, worst-case margins, certificates, and the accuracy under both."""

from .accuracy import RobustAccuracy, robust_accuracy
from .attacks import AttackResult, attack
from .certificates import RobustnessCertificate, certify
from .distance import BoundaryDistance, distance_to_boundary
from .foolbox import foolbox_attack
from .margins import MarginResult, worst_case_margin

__all__ = [
    "AttackResult",
    "BoundaryDistance",
    "MarginResult",
    "RobustAccuracy",
    "RobustnessCertificate",
    "attack",
    "certify",
    "distance_to_boundary",
    "foolbox_attack",
    "robust_accuracy",
    "worst_case_margin",
]
