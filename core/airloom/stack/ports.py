"""Ports of the loopback, chosen so that stacks which start at the same time do not take each other's."""

import socket
from contextlib import ExitStack


class Ports(ExitStack):
    """Chooses free ports, and keeps them from other stacks until the block ends, when the servers listen.

    The claim is an abstract Unix socket (Linux): a name that one process has at a time, in the same network namespace
    as the port, and that ends with its process.
    """

    def choose(self, wanted: int) -> int:
        """This port where it is free, else another one."""
        number = _free(wanted)
        while not (number and self._claim(number)):
            number = _free(0)
        return number

    def _claim(self, number: int) -> bool:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0airloom-port-{number}")
        except OSError:
            claim.close()
            return False
        self.enter_context(claim)
        return True


def _free(port: int) -> int:
    """The port, any one for 0; 0 where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            if port == 0:  # the system has none left
                raise
            return 0
        return int(probe.getsockname()[1])
