"""A device that does not exist: the agent itself on a virtual clock, and a truth to hold the protocol to."""
