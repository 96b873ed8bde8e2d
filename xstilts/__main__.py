"""`python -m xstilts`: the command line."""

import sys

from xstilts.command_line import main

sys.exit(main())
