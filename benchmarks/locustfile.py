"""What locust's users do: grade and run, as often as asked, with whatever answer."""

import os
from pathlib import Path

from locust import FastHttpUser, constant_throughput, task

SOLUTION = (Path(__file__).parents[1] / "examples/solution.py").read_text()
RATE = float(os.environ.get("RATE_EACH", "0"))  # calls a second of each user; 0 for one after the other


class Trainer(FastHttpUser):
    """Grades on the classic suite; an answer of 503 counts under a name of its own, and must say when to ask again."""

    wait_time = constant_throughput(RATE) if RATE else lambda _: 0
    network_timeout = 60.0

    @task
    def grade(self) -> None:
        """One submission."""
        with self.client.post("/grade", json={"code": SOLUTION}, name="grade", catch_response=True) as answer:
            if answer.status_code == 503:
                answer.request_meta["name"] = "refused"
                if answer.headers.get("retry-after") is None:
                    answer.failure("a refusal without Retry-After")
                else:
                    answer.success()
            elif answer.status_code != 200 or answer.json()["score"] != 1.0:
                answer.failure(f"{answer.status_code}: {answer.text[:100]}")
