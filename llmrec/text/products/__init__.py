"""Products by their texts: grounding of titles, alignment across locales, missing attributes."""
