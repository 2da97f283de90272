"""`python -m grove_dp` is the command `grove-dp`."""

import sys

from grove_dp.cli.main import main

sys.exit(main())
