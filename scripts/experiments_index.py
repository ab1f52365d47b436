"""Write the index of ``docs/experiments.md`` from the entries in ``docs/experiments/``.

Usage:
    python scripts/experiments_index.py

Status 1, and a line for each fault, where an entry is malformed; then nothing is written.
"""

from docsite.experiments import LOG, faults, machines_of, read_log, render_index, with_index

if __name__ == "__main__":
    log, entries = read_log()
    if found := faults(entries, machines_of(log)):
        raise SystemExit("\n".join(found))
    LOG.write_text(with_index(log, render_index(entries)), encoding="utf-8")
