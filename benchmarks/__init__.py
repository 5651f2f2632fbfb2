"""Measurements of a real server on this machine; ``python -m benchmarks`` runs them. Never part of the tests.

Each module measures one thing: one function, whose docstring says what, how, and where the limit comes from. What they
share is in ``figures`` (a figure, its repeats and limit), ``wire`` (a server, and a client that costs next to nothing),
``quiet`` (repeats, and what other processes used meanwhile) and ``machine`` (what it was measured on). Those about
delivery share ``watching`` (the load client, in C), ``feeding`` (a worker or a peer that is given updates without a
runner), ``signs`` (jobs that wait until all who watch are there), ``cores`` and ``programs`` (compiles the peers).

Nothing is pinned to cores unless a docstring says so: the server runs as ``make run`` runs it, and the client is one
more process that the kernel places, as a browser on the same machine would be.
"""
