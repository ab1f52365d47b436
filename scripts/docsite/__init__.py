"""Makes the documentation site: pages generated from the code, links that leave docs/, tutorials with their outputs."""
