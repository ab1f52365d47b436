"""Where the files of the paper come from: fetched, and checked."""
