"""`python -m lockgate_shop.users`."""

import sys

from lockgate_shop.kit.process.run import main
from lockgate_shop.users.app import PROGRAM

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
