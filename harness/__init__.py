"""Blackstart: failover drills with a verdict."""

__version__ = "0.1.0"
