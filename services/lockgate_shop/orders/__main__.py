"""`python -m lockgate_shop.orders`."""

import sys

from lockgate_shop.kit.process.run import main
from lockgate_shop.orders.app import PROGRAM

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
