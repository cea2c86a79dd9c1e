import json
import threading

import pytest

from airloom.deployment.generations import advance, generation
from airloom.deployment.record import Deployment, current, deploy
from airloom.errors import RegistryError
from airloom.registry import models
from airloom.tracking import runs
from airloom.tracking.tags import Tag


def together(functions):
    """Run all at once; what each returned or raised."""
    barrier, results = threading.Barrier(len(functions)), [None] * len(functions)

    def one(at):
        barrier.wait()
        try:
            results[at] = functions[at]()
        except Exception as error:
            results[at] = error

    threads = [threading.Thread(target=one, args=(at,)) for at in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def move(settings, expected):
    with advance(settings, "small", expected, expected + 1) as moved:
        return moved


def test_deploying_twice_is_one_generation(small):
    first, second = (small.register(key).version for key in ("one", "two"))
    made = deploy(small.settings, "small", first)
    assert deploy(small.settings, "small", first) == made == current(small.settings, "small")
    assert (made.generation, made.previous) == (1, "")
    made = deploy(small.settings, "small", second)
    assert (made.generation, made.champion, made.previous) == (2, second, first)
    aliases = runs.client(small.settings).get_registered_model("small").aliases
    assert {name: str(version) for name, version in aliases.items()} == {"champion": second, "previous": first}


def test_a_deployment_is_read_from_the_tag_of_homes_that_exist(small):
    version = small.register("one").version
    api = runs.client(small.settings)
    assert current(small.settings, "small") == Deployment(0, "", "", "")
    kept = '{"generation": 4, "champion": "3", "previous": "2", "at": "2026-11-28T12:00:00+00:00"}'
    api.set_registered_model_tag("small", Tag.DEPLOYMENT, kept)
    assert current(small.settings, "small") == Deployment(4, "3", "2", "2026-11-28T12:00:00+00:00")
    deployment = deploy(small.settings, "small", version)
    assert deployment.generation == 5
    tag = api.get_registered_model("small").tags[Tag.DEPLOYMENT]
    assert tag == json.dumps({"generation": 5, "champion": version, "previous": "", "at": deployment.at})


def test_only_one_of_many_moves_a_generation(make_home, tmp_path):
    settings = make_home(tmp_path)
    for expected in range(3):
        results = together([lambda at=expected: move(settings, at)] * 6)
        assert sorted(results, key=str) == [False] * 5 + [True], results
        assert generation(settings, "small") == expected + 1
    assert not move(settings, 0)
    assert not move(settings, 7)
    assert generation(settings, "small") == 3


def test_an_error_while_acting_leaves_the_generation(make_home, tmp_path):
    settings = make_home(tmp_path)
    with pytest.raises(OSError), advance(settings, "small", 0, 1):
        raise OSError
    assert generation(settings, "small") == 0


def test_concurrent_deployments_leave_one_consistent_state(small):
    versions = [small.register(key).version for key in ("one", "two", "three")]
    deployed = 0
    for _ in range(2):
        results = together([lambda v=v: deploy(small.settings, "small", v) for v in versions])
        won = [result for result in results if isinstance(result, Deployment) and result.generation > deployed]
        lost = [result for result in results if not isinstance(result, Deployment)]
        assert won
        assert all(isinstance(result, RegistryError) and "was faster" in str(result) for result in lost), lost
        record = current(small.settings, "small")
        deployed += len({result.generation for result in won})
        assert deployed == record.generation == generation(small.settings, "small")
        champion = models.champion(runs.client(small.settings), "small")
        assert record.champion == str(champion.version)
        assert record == max(won, key=lambda result: result.generation)
