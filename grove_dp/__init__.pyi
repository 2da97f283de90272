from grove_dp.metering.meter import Meter as Meter
from grove_dp.routing.index import PrefixIndex as PrefixIndex
from grove_dp.routing.router import Router as Router

__all__ = ["Meter", "PrefixIndex", "Router", "__version__"]

__version__: str
