"""The latency table `lut/1`: what a device said, as a folder that a person can read and git can compare."""
