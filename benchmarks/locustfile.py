"""What locust's users do: grade and run, as often as asked, with whatever answer."""

import os
import random
import time
from pathlib import Path

from locust import FastHttpUser, task

SOLUTION = (Path(__file__).parents[1] / "examples/solution.py").read_text()
TIMES = Path(os.environ["TIMES"])  # where to write when each accepted call began and ended
PAUSE_S = float(os.environ.get("PAUSE_S", "0"))  # mean of what each user waits between two calls


class Trainer(FastHttpUser):
    """Grades on the classic suite; an answer of 503 counts under a name of its own, and must say when to ask again."""

    network_timeout = 60.0

    def wait_time(self) -> float:
        """As users do that know nothing of each other: those who wait equally long come to ask all at once."""
        return random.expovariate(1 / PAUSE_S) if PAUSE_S else 0.0

    def on_start(self) -> None:
        """The first call, too, has a pause before it."""
        self.wait()

    @task
    def grade(self) -> None:
        """One submission."""
        began = time.monotonic()
        with self.client.post("/grade", json={"code": SOLUTION}, name="grade", catch_response=True) as answer:
            if answer.status_code == 503:
                answer.request_meta["name"] = "refused"
                if answer.headers.get("retry-after") is None:
                    answer.failure("a refusal without Retry-After")
                else:
                    answer.success()
            elif answer.status_code != 200 or answer.json()["score"] != 1.0:
                answer.failure(f"{answer.status_code}: {answer.text[:100]}")
            else:
                with TIMES.open("a") as file:
                    file.write(f"{began} {time.monotonic()}\n")
