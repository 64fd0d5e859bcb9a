"""Two-layer networks trained to certified global optimality, adversarial training included.

Names are loaded when they are first used, so that ``import convexadv`` needs neither torch nor cvxpy.

Sources, as docstrings abbreviate them: [KLP24] Kuelbs, Lall, Pilanci, arXiv 2405.14033; [BP21] Bartan, Pilanci, arXiv
2101.02429; [PE20] Pilanci, Ergen, arXiv 2002.10553; [MSP22] Mishkin, Sahiner, Pilanci, arXiv 2202.01331; [BGS22] Bai, Gautam,
Sojoudi, arXiv 2201.01965; [CRONOS] Feng, Frangella, Pilanci, arXiv 2411.01088; [CSTAR] Phan, Yin, Sui, Yuan, Zonouz, arXiv
2212.01957. The formulas, with proofs: docs/mathematics.md.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._version import __version__

_HOMES = {
    "PolynomialProblem": "problems",
    "ReLUProblem": "problems",
    "GatedReLUProblem": "problems",
    "OptimalityCertificate": "problems",
    "solve": "solvers",
    "Solution": "solvers",
    "Status": "solvers",
    "grow_patterns": "solvers",
    "gated_to_relu": "cone_decomposition",
    "open_rows": "sources",
    "BlockRows": "sources",
    "DatasetRows": "sources",
    "PolynomialNetwork": "networks",
    "ReLUNetwork": "networks",
    "GatedReLUNetwork": "networks",
    "save": "files",
    "load": "files",
    "export_onnx": "onnx_export",
    "save_certificate": "certificate_files",
    "load_certificate": "certificate_files",
    "verify_certificate": "verification",
    "Verification": "verification",
    "attack": "robustness",
    "AttackResult": "robustness",
    "foolbox_attack": "robustness",
    "certify": "robustness",
    "worst_case_margin": "robustness",
    "distance_to_boundary": "robustness",
    "robust_accuracy": "robustness",
    "RobustnessCertificate": "robustness",
    "regularisation_path": "paths",
    "RegularisationPath": "paths",
    "PolynomialClassifier": "estimators",
    "PolynomialRegressor": "estimators",
    "ReLUClassifier": "estimators",
    "ReLURegressor": "estimators",
    "GatedReLUClassifier": "estimators",
    "GatedReLURegressor": "estimators",
    "robustify": "heads",
    "Robustified": "heads",
    "HeadReport": "heads",
    "HeadedModel": "heads",
    "compress": "compression",
    "Compressed": "compression",
    "InputError": "errors",
    "FileFormatError": "errors",
    "CertificateError": "errors",
    "ProcessError": "errors",
    "TrainingError": "errors",
    "SolverUnavailableError": "errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'convexadv' has no attribute {name!r}; use a name out of convexadv.__all__.")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
