"""`python -m services.orders`."""

import sys

from services.kit.run import main
from services.orders.app import PROGRAM

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
