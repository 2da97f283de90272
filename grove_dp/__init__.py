"""grove_dp: an autoscaling, KV-aware routing data plane for LLM inference.

The command is `grove-dp`; the parts and who may import whom are checked by `make check`.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
