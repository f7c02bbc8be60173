"""The bench host: plans, drives devices, writes tables, verifies and reports."""
