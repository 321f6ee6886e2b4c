"""The service as it is, but that a request has one second to come: ``python -m tests.service.impatient_service``."""

import service.__main__
from service.http import BoundedHttpProtocol

LIMIT_S = 1.0

if __name__ == "__main__":
    BoundedHttpProtocol.request_s = LIMIT_S
    service.__main__.main()
