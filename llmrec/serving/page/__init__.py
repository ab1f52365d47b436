"""The page: what a person sees of the service, in a browser, of its own files alone."""
