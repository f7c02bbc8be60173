"""What the report's tests need: a made-up run folder, labelled simulated, and a browser."""
