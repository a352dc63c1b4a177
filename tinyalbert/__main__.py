"""`python -m tinyalbert` is `tinyalbert`."""

from .cli import main

raise SystemExit(main())
