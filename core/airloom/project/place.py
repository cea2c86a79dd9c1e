"""Where in the user's own code an error comes from, rather than where in a library it was raised."""

import sysconfig
import traceback
from pathlib import Path

_LIBRARIES = {"site-packages", "dist-packages"}
_STANDARD = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
_OURS = str(Path(__file__).resolve().parents[1])


def own_line(error: BaseException, file: str = "") -> str:
    """`path:line` of the last call in code that is no library's; of all code, where there is no such call.

    Args:
        error: with its traceback.
        file: of the function that was called: its folder is the user's own, also where it is installed as a package.
    """
    frames = traceback.extract_tb(error.__traceback__)
    folder = str(Path(file).parent) if file else ""
    own = [frame for frame in frames if _is_own(frame.filename, folder)] or list(frames)
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "no line"


def _is_own(filename: str, folder: str) -> bool:
    if folder and filename.startswith(folder):
        return True
    library = _LIBRARIES & set(Path(filename).parts) or filename.startswith((*_STANDARD, _OURS, "<"))
    return not library
