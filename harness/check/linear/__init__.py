"""Linearizability: sequential models, and the searches that decide whether calls have a legal order. Pure; no history formats."""
