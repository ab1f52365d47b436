"""Titles edited instead of written: words of the last ones kept or dropped, learnt phrases put in."""
