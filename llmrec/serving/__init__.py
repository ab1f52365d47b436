"""Behind a shop: one service on fitted things, and the doors that lead to it."""
