"""A subnet or an op as a file that a runtime loads: what is measured is what ships."""
