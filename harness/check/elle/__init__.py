"""Anomalies of transactions over lists and registers, from what was read alone. Source: Kingsbury and Alvaro 2020 (Elle)."""
