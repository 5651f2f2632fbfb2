"""HTTP: the door to ``jobs/``, and the only place that knows Flask and gevent.

::

    auth.py        who asks, and whether the request may be answered at all (Host, login, CSRF, tokens)
    api.py         the JSON calls, along docs and OpenAPI; schemas.py shapes what goes out
    pages.py       the HTML pages
    stream.py      the generator behind the streaming Response of one run: history, then live, heartbeat, end
    overview.py    the pages' one stream: the latest update of every run, all events of followed ones
    reader.py      what one client lacks of one run
    broadcast.py   the fast lane: one loop that writes an event to all streams that have caught up
    feed.py        what this process knows live: the newest events of every run that somebody watches
    board.py       the latest update of every run
    frame.py       an event to bytes
    answer.py      the response of a stream, made small
    lifetime.py    how long a stream lives, and when it has to say something
    connection.py  the client's socket: time limits, and noticing that the client has gone
    slots.py       how many streams may be open
    errors.py      every error as problem+json (or a page)
    offhub.py      blocking calls kept away from gevent's hub
    accesslog.py   one JSON line a request, without secrets
"""
