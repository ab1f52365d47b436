"""What trees read of a candidate: pair and item counts, products, ids."""
