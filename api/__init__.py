"""Who asks, and how it is answered: HTTP, the cache, the web page, the command line.

The top floor: it puts the floors below together, and nothing below knows it. Only here are Flask and Redis known.
"""
