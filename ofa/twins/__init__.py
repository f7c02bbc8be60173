"""Twins: models of accuracy, latency and memory, fitted to measured networks, that say how far off they may be.

The public names, with numpy arrays in and out, are ``fit_accuracy``, ``fit_latency``, ``choose_networks`` and
``transfer_latency``; nothing heavy is loaded before one is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa.twins.accuracy import fit as fit_accuracy
    from ofa.twins.latency import fit_measured as fit_latency
    from ofa.twins.transfer import choose_networks
    from ofa.twins.transfer import transfer as transfer_latency

__all__ = ["choose_networks", "fit_accuracy", "fit_latency", "transfer_latency"]

_PLACES = {
    "choose_networks": ("transfer", "choose_networks"),
    "fit_accuracy": ("accuracy", "fit"),
    "fit_latency": ("latency", "fit_measured"),
    "transfer_latency": ("transfer", "transfer"),
}


def __getattr__(name: str) -> Any:
    """Load a public function when it is first asked for."""
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module 'ofa.twins' has no attribute '{name}'")
    module, function = _PLACES[name]
    return getattr(import_module(f"ofa.twins.{module}"), function)


def __dir__() -> list[str]:
    """Return the public names beside what is loaded already: those not asked for yet, too."""
    return sorted({*globals(), *__all__})
