"""Episodes: what every protocol of the service is a face of.

An episode has a suite, a seed, a number of steps and a deadline. It answers `python_expression` until they are used up;
the first `submit_code` is graded and ends it, and its reward is the grade's score. An episode that ends without a
submission has the reward 0. One whose grade was lost through the service's fault has none: null, never 0.
"""

from service.episodes.episodes import OWNER, Episodes
from service.episodes.memory_store import MemoryStore
from service.episodes.models import OUTCOMES, RUNNING, EpisodeRequest, EpisodeStatus, EpisodeView, ToolResponse
from service.episodes.store import Store

__all__ = [
    "OUTCOMES",
    "OWNER",
    "RUNNING",
    "EpisodeRequest",
    "EpisodeStatus",
    "EpisodeView",
    "Episodes",
    "MemoryStore",
    "Store",
    "ToolResponse",
]
