"""A job file that does not load."""

import no_such_module  # noqa: F401
