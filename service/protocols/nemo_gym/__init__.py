"""A NeMo Gym resources server: an episode in a cookie, its tools as paths, and `/verify` for its reward.

What `/verify` grades: the episode's submission, made by `/submit_code`. Where there was none, the first `submit_code`
among the function calls of the response is submitted, so that stored rollouts can be verified again, and those of
agents that run no tools; without a cookie that happens in an episode of its own, on the row's seed.
"""

from service.protocols.nemo_gym.routes import nemo_gym_routes
from service.protocols.nemo_gym.session import NeMoGymSession

__all__ = ["NeMoGymSession", "nemo_gym_routes"]
