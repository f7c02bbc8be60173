"""Twins: models of accuracy and latency, fitted to measured networks, that say how far off they may be."""
