"""Print a new one-time login address for the server of this data folder: ``make address``."""

from __future__ import annotations

from jobs.settings import Settings
from jobs.store import Store
from web.auth import Gate, login_address, read_key

if __name__ == "__main__":
    settings = Settings.from_environment()
    print(login_address(settings, Gate(read_key(settings), Store(settings.database_path)), settings.bind))
