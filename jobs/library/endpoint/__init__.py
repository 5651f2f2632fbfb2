"""The one way to an OpenAI-compatible endpoint; :mod:`~jobs.library.endpoint.client` is its door."""
