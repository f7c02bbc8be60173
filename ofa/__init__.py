"""The model world of ofa-lab: what can vary, learned once, searched often."""
