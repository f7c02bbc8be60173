"""What a run's tables and fronts were made from, as one file that makes them again byte for byte."""
