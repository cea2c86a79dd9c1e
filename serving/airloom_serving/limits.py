"""What a request may cost: the limits of the server, and the account of what is in flight.

What one call of a graph is given stands in `airloom.inference.limits`.
"""

BODY_LIMIT = 8 * 2**20  # bytes
BODY_SECONDS = 30.0  # that a body may take to come
HEAD_LIMIT = 2**16  # bytes of a request's first line and headers, beyond those of its first read
HEAD_SECONDS = 10.0  # that they may take to come, from the start of the connection or their first byte on
MOST_HEADERS = 100
MOST_CONNECTIONS = 4096  # of a process, or as many as it may have files open
WRITE_SECONDS = 30.0  # in which a client that takes no bytes of its answer is given up
IN_FLIGHT = 32 * 2**20  # bytes of all bodies that are being read or answered
MOST_REQUESTS = 1024  # that are being read or answered at once
MOST_INSTANCES = 10_000
MOST_VALUES = 2**24  # numbers that a request's instances become: a short text becomes as many as a long one
MOST_SCORES = 2**19  # probabilities of one answer
SMALL_BODY = 2**14  # bytes; larger bodies are parsed one at a time, as their objects take some 30 times their bytes
RUN_SECONDS = 20.0  # of a request, its wait among others of the same model included
INLINE_SECONDS = 0.001  # of a batch on the event loop; a thread costs about a quarter of it
BATCHED_ROWS = 64  # of a request that is run together with others
THREADS_A_MODEL = 4  # so that a slow model leaves the others theirs
MOST_ASKED = 512  # requests of one model that are answered or wait


class InFlight:
    """Requests that are being read or answered and the bytes of their bodies, all together. For one event loop."""

    def __init__(self, limit: int = IN_FLIGHT) -> None:
        self.taken = 0
        self._limit = limit

    def take(self, size: int) -> bool:
        """Take room for so many bytes; False where there is none."""
        if self.taken + size > self._limit:
            return False
        self.taken += size
        return True

    def give(self, size: int) -> None:
        """Give room back."""
        self.taken -= size
