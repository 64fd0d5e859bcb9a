"""Documents as JSON, which has neither NaN nor infinities."""

from __future__ import annotations

import json
import math
from typing import Any


def plain(value: Any) -> Any:
    """The value with arrays and tuples as lists, keys as text, and None for numbers that are not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(document: Any, indent: int | None = 2) -> str:
    """The :func:`plain` document as JSON."""
    return json.dumps(plain(document), indent=indent, allow_nan=False)
