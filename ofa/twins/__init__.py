"""Twins: models of accuracy, latency and memory, fitted to measured networks, that say how far off they may be."""
