"""What is known: the catalogue, the events, the interactions, the embedding table.

The lowest floor. It knows nothing of encoders, recommenders, HTTP or caches, and imports none of them.
"""
