"""The token of a request, in whichever form the client can send it."""

from base64 import b64decode
from binascii import Error

MLFLOW = ("/invocations", "/ping", "/health", "/version")


def presented(path: str, header: bytes) -> bytes:
    """The `Authorization` header, as `Bearer <token>`.

    MLflow's own client can be given an address only: `user:TOKEN@127.0.0.1`, which is sent as `Basic`. At its doors the
    password is the token; elsewhere a browser might be made to send it.

    Args:
        path: of the request.
        header: as it came.
    """
    if header[:6].lower() != b"basic " or not path.endswith(MLFLOW):
        return header
    try:
        _, colon, password = b64decode(header[6:], validate=True).partition(b":")
    except Error:
        return header
    return b"Bearer " + password if colon else header
