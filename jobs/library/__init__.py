"""The jobs that ship with Headway, and what they share: the one guarded way to the web, tables, pages, robots.

Files here that define no ``@job`` are parts of those that do.
"""
