"""Getting the world's files in: folders of videos, tables of events, MovieLens.

Every importer shows its progress, stops for no bad row, and ends with an `ImportReport`. Knows nothing of
encoders or HTTP.
"""

from data.importers.events import import_events
from data.importers.folder import import_folder
from data.importers.movielens import import_movielens
from data.importers.report import ImportProblem, ImportReport

__all__ = ["ImportProblem", "ImportReport", "import_events", "import_folder", "import_movielens"]
