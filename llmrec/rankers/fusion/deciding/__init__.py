"""What fusion decides by itself where a setting is ``auto``: by facts of the training sessions, then out of fold."""
