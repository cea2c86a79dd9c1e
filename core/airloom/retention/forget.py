"""Forget rows of a dataset, with everything that knows what else holds them.

A store that keeps rows, or what is made of single rows, adds its `Eraser` to `ERASERS`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airloom.datasets.forgetting import forget as forgetting
from airloom.datasets.forgetting.erasers import OWN
from airloom.datasets.forgetting.forget import Forgotten
from airloom.datasets.forgetting.places import Eraser
from airloom.errors import ConfigError
from airloom.retention.answered import Answers
from airloom.retention.logged import LoggedInputs
from airloom.retention.trained_on import Evidence, Models
from airloom.settings import Settings, load

ERASERS: Sequence[Eraser] = (*OWN, Answers(), LoggedInputs(), Models(), Evidence())
SHOWN = 12  # places of one kind that the text has


def plan(settings: Settings, dataset: str, keys: Sequence[str]) -> Forgotten:
    """What `forget` would do; see `airloom.datasets.forgetting.forget.plan`."""
    return forgetting.plan(settings, dataset, keys, ERASERS)


def forget(
    settings: Settings,
    dataset: str,
    keys: Sequence[str],
    *,
    reason: str,
    author: str | None = None,
    log_line: Callable[[str], None] = lambda _: None,
) -> Forgotten:
    """Forget all rows with these keys, in all versions; see `airloom.datasets.forgetting.forget.forget`.

    Args:
        settings: of this installation.
        dataset: its name.
        keys: of the rows, as text.
        reason: why; it is recorded, and must not name a key.
        author: who says so; None for who calls.
        log_line: is told of each step.
    """
    return forgetting.forget(settings, dataset, keys, reason=reason, author=author, erasers=ERASERS, log_line=log_line)


def step(dataset: str, keys_file: str, reason: str, author: str) -> dict[str, Any]:
    """Job entry: the keys stand in a file of the project, so that neither Airflow nor the job's folder keeps them."""
    settings = load()
    keys = read_keys(settings.project / keys_file)
    answer = forget(settings, dataset, keys, reason=reason, author=author, log_line=print)
    return answer.to_dict()


def read_keys(path: Path) -> list[str]:
    """The keys in a file, one a line.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        keys = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of keys {path} cannot be read: {error}", "a text file, a key a line") from None
    if not keys:
        raise ConfigError(f"the file of keys {path} is empty", "a key a line")
    return keys


def render(answer: Forgotten) -> str:
    """For people: what went, or would go, and what else holds the rows."""
    if answer.done and not answer.rows:
        return f"{answer.dataset}: the forgetting that was interrupted is finished; no row with the key is left"
    told = "were" if answer.done else "would be"
    held = ", ".join(f"{name} ({count})" for name, count in answer.versions.items())
    rows = f"{answer.rows} different rows" if answer.rows != 1 else "1 row"
    verb = "was" if answer.done and answer.rows == 1 else told
    lines = [f"{answer.dataset}: {rows} {verb} forgotten, in {answer.stored} stored states of it"]
    lines += [f"REDACTED: {held}"] if held else []
    lines += [f"the newest version without them: {answer.version}"] if answer.version else []
    for erased, title in ((True, f"{told} erased"), (False, "not erased, look at them")):
        places = [place for place in answer.places if place.erased == erased]
        lines += [f"{title}:"] if places else []
        kinds = dict.fromkeys(place.eraser for place in places)
        for kind in kinds:
            same = [place for place in places if place.eraser == kind]
            lines += [f"  {kind} {place.name}{f': {place.note}' if place.note else ''}" for place in same[:SHOWN]]
            lines += [f"  {kind}: {len(same) - SHOWN} more; --json has all"] if len(same) > SHOWN else []
    return "\n".join([*lines, *answer.left])
