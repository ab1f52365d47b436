"""Neural session models, each a `SessionModel`: items of a session in, its vector out."""
