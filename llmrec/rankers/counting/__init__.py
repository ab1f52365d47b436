"""Rankers that count: popularity, co-visitation, session neighbours."""
