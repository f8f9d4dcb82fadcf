"""A small world for machines without data: clips that are really encoded, viewers who really have tastes.

`make_world(folder)` draws about 200 short H.264 clips of 16 genres (moving crops of the photographs that
scikit-image and scikit-learn ship, drawn places, characters, games) and simulates about 500 viewers over 120 days.
Everything is seeded: the same arguments give the same world. The genres are one table in `genres.py`, the drawing
is in `photographs.py`, `landscapes.py`, `characters.py` and `games.py`, the behaviour is explained at the top of
`viewers.py`.

Imports nothing but `data.schema` and `data.progress` from the house.
"""

from data.demo.clips import ClipPlan, make_clips, plan_clips
from data.demo.genres import GENRES, Genre
from data.demo.world import DEFAULT_END, World, make_world

__all__ = ["DEFAULT_END", "GENRES", "ClipPlan", "Genre", "World", "make_clips", "make_world", "plan_clips"]
