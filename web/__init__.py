"""HTTP: the door to ``jobs/``, and the only place that knows Flask and gevent.

::

    auth.py        who asks, and whether the request may be answered at all (Host, login, CSRF, tokens)
    api.py         the JSON calls, along docs and OpenAPI; schemas.py shapes what goes out
    pages.py       the HTML pages
    stream.py      the generator behind the streaming Response: history, then live, heartbeat, end
    feed.py        what this process knows live: the newest events of every run that somebody watches
    frame.py       an event to bytes
    connection.py  the client's socket: time limits, and noticing that the client has gone
    errors.py      every error as problem+json (or a page)
    offhub.py      blocking calls kept away from gevent's hub
    accesslog.py   one JSON line a request, without secrets
"""
