"""Quantities of Kubernetes, told apart by what they mean: 0.5 is 500m, and 1024Mi is 1Gi.

The API server writes them its own way when it stores them, so text cannot be compared with text.
"""

import re
from fractions import Fraction
from typing import Any, Final

__all__ = ["quantity"]

SHAPE: Final = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([eE][+-]?[0-9]{1,3}|[numkMGTPE]|[KMGTPE]i)?")
DECIMAL: Final = {unit: Fraction(10) ** (3 * power) for power, unit in enumerate("num kMGTPE", -3)}
BINARY: Final = {f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", 1)}
SCALE: Final = DECIMAL | BINARY


def quantity(value: Any) -> Any:
    """*value* as a fraction in its shortest text, such as `1/2`; what is no quantity comes back as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    found = SHAPE.fullmatch(str(value).strip())
    if found is None:
        return value
    number, suffix = Fraction(found[1].rstrip(".")), found[2] or ""
    if suffix in SCALE:
        return str(number * SCALE[suffix])
    return str(number * Fraction(10) ** int(suffix[1:]) if suffix else number)
