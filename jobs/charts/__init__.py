"""How charts are drawn: :mod:`~jobs.charts.svg` makes the drawing out of its parts."""
