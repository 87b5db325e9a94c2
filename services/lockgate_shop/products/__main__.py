"""`python -m lockgate_shop.products`."""

import sys

from lockgate_shop.kit.process.run import main
from lockgate_shop.products.app import PROGRAM

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
