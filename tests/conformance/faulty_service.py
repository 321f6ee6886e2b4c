"""A service whose sandbox was never started: it opens episodes and can grade none of them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from service.app import create_app
from service.settings import Settings


@contextmanager
def faulty_service() -> Iterator[str]:
    """Serves it in a thread, without the app's lifespan, which starts the sandbox; answers its address."""
    config = uvicorn.Config(create_app(Settings()), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
