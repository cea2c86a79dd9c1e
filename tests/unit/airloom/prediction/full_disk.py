"""Run by test_full_disk.py: `full_disk.py MODEL tmpfs|limit PART:BYTES…` answers with so much room from a part on."""

import json
import resource
import shutil
import subprocess
import sys

from airloom.errors import AirloomError
from airloom.prediction import planning
from airloom.prediction.delivery import Target
from airloom.prediction.folder import PLACE, Folder
from airloom.prediction.job import carry_out
from airloom.prediction.request import Asked, fix
from airloom.settings import load

model, how, *levels = sys.argv[1:]
settings = load()
place = settings.home / PLACE
place.mkdir(exist_ok=True)
if how == "tmpfs":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], check=True)
planning.parts_of.__defaults__ = (100,)
request, add, full = fix(settings, Asked(model, "digits@v1")), Folder.add, [0, 0]


def starve(self, number, *rest):
    if number == full[0] and how == "tmpfs":
        (place / "filler").write_bytes(bytes(max(0, shutil.disk_usage(place).free - full[1])))
    elif number == full[0]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (full[1], resource.RLIM_INFINITY))
    return add(self, number, *rest)


def feed():
    (place / "filler").unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def attempt():
    try:
        return str(carry_out(settings, request, Target()).rows)
    except AirloomError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        feed()


Folder.add, folder = starve, Folder(settings, request.id)
for level in levels:
    shutil.rmtree(folder.path, ignore_errors=True)
    full[:] = [int(number) for number in level.split(":")]
    said, kept = attempt(), sorted(folder.finished())
    full[0] = -1
    left = [path.name for path in folder.parts.glob(".*")]
    retried = attempt()
    files = [folder.file(part).read_bytes().hex() for part in range(4)]
    print(json.dumps({"said": said, "kept": kept, "left": left, "retried": retried, "files": files}), flush=True)
