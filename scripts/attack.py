"""Attack the commands: changed files, kills at every event, two writers at once, odd machines; print what broke.

**Usage**

    python scripts/attack.py

    python scripts/attack.py --mutations 2000 --seed 20261129

    python scripts/attack.py --family 'store manifest' --seed 7 --only 12
"""

import os
import sys
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.robustness.run import main

if __name__ == "__main__":
    status = 3
    try:
        status = main()
    except SystemExit as stop:  # --help, or a wrong flag
        status = stop.code if isinstance(stop.code, int) else 2
    except BaseException:
        traceback.print_exc()
        raise
    finally:  # libraries that were loaded and never used complain of that when the interpreter ends
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
