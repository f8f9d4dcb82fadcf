"""What to show: from the embedding table and the interactions to ranked lists.

Knows nothing of video files, HTTP or caches; imports `data` alone.
"""
