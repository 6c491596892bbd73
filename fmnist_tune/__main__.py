"""`python -m fmnist_tune`."""

import sys

from fmnist_tune.cli import main

sys.exit(main())
