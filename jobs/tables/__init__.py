"""Tables as files: :mod:`~jobs.tables.reader` reads what users give, :mod:`~jobs.tables.writer` writes what is safe."""
