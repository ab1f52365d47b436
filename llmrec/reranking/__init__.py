"""A language model orders the first candidates of any ranking by their titles; stands on rankers and titles."""
