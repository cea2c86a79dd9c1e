"""Any sequence of operations with forgettings in it, against lists of names."""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from forgetting.world import LAYOUT, World, leftovers, people
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airloom.datasets import edit, tag_delete, versions
from airloom.datasets.compact import compact
from airloom.datasets.ingest import from_table
from airloom.datasets.storage.rows import content_id
from airloom.datasets.storage.store import Store
from airloom.errors import DataError, NothingChanged
from airloom.retention.forget import forget
from airloom.settings import Settings

NAMES = [f"who-{n}-is-it" for n in range(6)]
some = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), some),
        st.tuples(st.just("replace"), some),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("fix"), st.integers(0, 9), st.sampled_from(NAMES)),
        st.tuples(st.just("compact")),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("forget"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)),
        st.tuples(st.just("forget"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)),
    ),
    min_size=3,
    max_size=8,
)


class Model:
    """What each version ever held, what is left of it, and what everything together still has."""

    def __init__(self) -> None:
        self.made: dict[int, list[str]] = {}
        self.left: dict[int, list[str]] = {}
        self.deleted: set[int] = set()
        self.ids: dict[int, str] = {}

    @property
    def newest(self) -> int:
        return max((number for number in self.left if number not in self.deleted), default=0)

    def take(self, names: list[str]) -> None:
        number = len(self.made) + 1
        self.made[number], self.left[number] = names, list(names)

    def everywhere(self) -> set[str]:
        return {name for names in self.left.values() for name in names}


def step(world: World, model: Model, name: str, *arguments) -> None:
    rows = model.left.get(model.newest, [])
    if name in ("append", "replace"):
        (names,) = arguments
        with suppress(NothingChanged):
            world.put(*names, late=len(model.made), mode=name)
            model.take((rows if name == "append" else []) + names)
    elif not rows:
        return
    elif name == "remove":
        at = arguments[0] % len(rows)
        version = versions.latest(world.settings, "people")
        if len(rows) > 1 and not version.redacted:  # numbers of a redacted version are others
            edit.delete_rows(world.settings, version, [at], message="m")
            model.take(rows[:at] + rows[at + 1 :])
    elif name == "fix":
        at, other = arguments[0] % len(rows), arguments[1]
        data = from_table(people(other, late=len(model.made)), LAYOUT)
        version = versions.latest(world.settings, "people")
        if not version.redacted:
            edit.fix_rows(world.settings, version, [at], data, message="m")
            model.take(rows[:at] + rows[at + 1 :] + [other])
    elif name == "compact":
        with suppress(NothingChanged):
            compact(world.settings, "people")
    elif name == "delete":
        living = sorted(set(model.made) - model.deleted)
        number = living[arguments[0] % len(living)]
        tag_delete.delete(world.settings, f"people@v{number}", reason="r")
        model.deleted.add(number)
    else:
        forget_them(world, model, arguments[0], rows)


def forget_them(world: World, model: Model, names: list[str], rows: list[str]) -> None:
    if not set(names) <= model.everywhere():
        before = world.refs()
        with pytest.raises(DataError, match="no version of people has a row"):
            forget(world.settings, "people", names, reason="r")
        assert world.refs() == before
        return
    if not set(rows) - set(names):
        with pytest.raises(DataError, match="would be left"):
            forget(world.settings, "people", names, reason="r")
        return
    forget(world.settings, "people", names, reason="r")
    if set(rows) & set(names):
        model.take([name for name in rows if name not in names])
    for number, held in model.left.items():
        model.left[number] = [name for name in held if name not in names]


def check(world: World, model: Model) -> None:
    store = Store(world.settings)
    for version, _ in versions.history(world.settings, "people"):
        number, manifest = version.number, versions.stored(world.settings.data_repo, "people", version.number)
        assert model.ids.setdefault(number, version.id) == version.id and version.rows == len(model.made[number])
        assert version.redacted == len(model.made[number]) - len(model.left[number])
        assert manifest.rows == len(model.left[number])
        if number not in model.deleted:
            assert world.names(number, allow_redacted=True) == model.left[number]
            left = versions.check_whole(world.settings, version, allow_redacted=True)
            assert content_id(store, manifest) == left
    gone = [name.encode() for name in NAMES if name not in model.everywhere()]
    assert leftovers(world.settings.home / "data", world.settings.data_repo, gone or [b"nobody at all"]) == []


@pytest.mark.timeout(3600)
@pytest.mark.matrix("examples", [80], sample=[4])
def test_any_operations_leave_what_a_list_leaves(unvalidated, examples):
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operations)
    def try_them(asked):
        with tempfile.TemporaryDirectory() as folder:
            world, model = World(Settings(home=Path(folder) / "home"), Path(folder) / "s.json"), Model()
            step(world, model, "append", NAMES[:4])
            for name, *arguments in asked:
                step(world, model, name, *arguments)
            check(world, model)

    try_them()
