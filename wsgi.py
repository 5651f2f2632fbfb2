"""``gunicorn wsgi:app``: the application for a server that keeps a runner beside it (gunicorn.conf.py)."""

from app import create_app, log_to_stderr

log_to_stderr()
app = create_app({"RUNNER": "beside"})
