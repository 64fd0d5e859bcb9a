"""Sphinx builds the reference from the docstrings: ``make docs``. A parameter that no docstring explains fails the build."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "convexadv"
author = "The convexadv authors"
release = version = installed("convexadv")
extensions = ["sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["*.md"]
html_theme = "alabaster"
html_show_sourcelink = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_validation_checks = {"PR01", "PR02"}
# Results are described by their attributes; scikit-learn's methods take X, y and sample_weight.
numpydoc_validation_exclude = {
    r"\.(OptimalityCertificate|Solution|Status|AttackResult|RobustnessCertificate|RegularisationPath|Verification|Dataset|Scaling)$",
    r"\.(Robustified|HeadReport|Tap|MaskingReport|MarginSurface|ModelCertificate|LipschitzBound)$",
    r"\.(Compressed|Allocation|AtomSet|ConeMultipliers|GateShares|GateSample|Record|PathPoint|Growth|ConeDecomposition)$",
    r"\.(MarginResult|BoundaryDistance|RobustAccuracy|Settings|Images|Loss|Clean|OneStep|Adversarial|TRADES|Mixed)$",
    r"\.set_\w+_request$",
    r"\.(fit|predict|score|decision_function|predict_proba)$",
}
