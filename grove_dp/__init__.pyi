from grove_dp.routing.index import PrefixIndex as PrefixIndex
from grove_dp.routing.router import Router as Router

__all__ = ["PrefixIndex", "Router", "__version__"]

__version__: str
