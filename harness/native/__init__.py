"""Programs that time a network on devices without Python, spoken to as the agent is: one process for each network."""
