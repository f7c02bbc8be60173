"""The agent in an aarch64 userland."""
