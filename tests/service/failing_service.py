"""The service with a fault: episodes cannot be looked at."""

from service.__main__ import main
from service.episodes import Episodes, EpisodeView


async def view(self: Episodes, episode_id: str) -> EpisodeView:
    raise RuntimeError(f"{self.limit} places, and {episode_id} in none")


if __name__ == "__main__":
    Episodes.view = view  # type: ignore[method-assign]
    main()
