"""Search: the most accurate network of a space within hard limits; the public entry is ``find``."""

from ofa.search.bound import Extremes, extremes
from ofa.search.evolve import Generation
from ofa.search.find import Candidate, Found, find
from ofa.search.limits import Limit, latency_limit

__all__ = ["Candidate", "Extremes", "Found", "Generation", "Limit", "extremes", "find", "latency_limit"]
