"""`python -m fallback.local.worker`: started by the supervisor, which speaks on its stdin."""

import sys

from fallback.local.worker.main import main

if __name__ == "__main__":
    sys.exit(main())
