"""Set a damaged database aside, so that the server starts with a new one: ``make recover``. Nothing is deleted."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from jobs.errors import StoreError
from jobs.locks import is_held, is_shared
from jobs.settings import Settings
from jobs.store import Store


def set_aside(database: Path) -> Path:
    """Move the database and its WAL into a folder beside it; gives the folder."""
    folder = database.parent / time.strftime("damaged-%Y%m%dT%H%M%S")
    folder.mkdir()
    for path in database.parent.glob(database.name + "*"):
        path.rename(folder / path.name)
    return folder


def main() -> None:
    """Refuse while the server runs or the database is sound; otherwise set it aside and say where it is."""
    settings = Settings.from_environment()
    if is_held(settings.data_path / "runner.lock") or is_shared(settings.data_path / "web.lock"):
        sys.exit("The server is running. Stop it first.")
    try:
        Store(settings.database_path).check()
    except StoreError as error:
        print(f"{error}\nIt is in {set_aside(settings.database_path)} now. The next start makes a new one.")
    else:
        sys.exit(f"{settings.database_path} is sound; there is nothing to recover.")


if __name__ == "__main__":
    main()
