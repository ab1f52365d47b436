"""Models that write titles: loaded, built, trimmed, adapted, planned."""
