"""`python -m services.users`."""

import sys

from services.kit.run import main
from services.users.app import PROGRAM

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
