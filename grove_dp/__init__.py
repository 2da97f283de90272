"""grove_dp: an autoscaling, KV-aware routing data plane for LLM inference.

The command is `grove-dp`; the parts and who may import whom are checked by `make check`. Three of them serve
without the rest: `grove_dp.PrefixIndex` (who holds which prefix), `grove_dp.Router` (where to place a prompt)
and `grove_dp.Meter` (rates and quantiles of the last seconds), loaded when they are first asked for.
"""

from typing import Any

__all__ = ["Meter", "PrefixIndex", "Router", "__version__"]

__version__ = "0.1.0"

_AT = {
    "Meter": "grove_dp.metering.meter",
    "PrefixIndex": "grove_dp.routing.index",
    "Router": "grove_dp.routing.router",
}


def __getattr__(name: str) -> Any:
    if name not in _AT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_AT[name]), name)
