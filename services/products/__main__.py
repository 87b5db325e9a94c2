"""`python -m services.products`."""

import sys

from services.kit.run import main
from services.products.app import PROGRAM

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
