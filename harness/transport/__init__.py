"""Ways to reach a device: start the agent there, exchange lines with it, end it."""
