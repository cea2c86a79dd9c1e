"""Makes the server serve what the registry says, and keeps serving when the registry is away."""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime

from airloom.deployment.desired import Desired, desired
from airloom.deployment.record import adopt
from airloom.errors import MlflowAway
from airloom.names import shown_model
from airloom.registry import model_files, models, python_models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom_serving.beside import Beside
from airloom_serving.served import ServedModel
from airloom_serving.shelf import Shelf, give_back
from airloom_serving.source import Loading, Source
from airloom_serving.verdicts import Checkers, Refused

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0  # so that a roll-back serves within two, loading included
LONGEST_PAUSE = 60.0
LONGEST_REFUSAL = 3600.0  # a check that fails costs its whole time
CANDIDATE = " (candidate)"  # behind a model's name: the version that is on its way to be its champion
LOADERS = 4  # versions that are loaded at once: one that takes long stops no other


@dataclass(frozen=True)
class Retry:
    """When a version that could not be loaded is tried again."""

    not_before: float = 0.0  # by the monotonic clock
    pause: float = POLL_SECONDS

    def later(self, longest: float) -> "Retry":
        """The time of the next try: each pause is twice as long as the one before."""
        return Retry(time.monotonic() + self.pause, min(2 * self.pause, longest))


class Reconciler(Source):
    """Polls what should serve in a thread of its own, and loads versions in a few others.

    Models of this installation only, by the short name, which an application need not change with the installation.
    `models` and `besides` are replaced as a whole, so a request sees either the old or the new version, never something
    between. In all others a candidate stands beside its champion under a name of its own, see `CANDIDATE`.
    """

    def __init__(self, settings: Settings, checkers: Checkers | None = None) -> None:
        always = {name.strip() for name in settings.served_always.split(",")}
        super().__init__(Shelf(settings.served_mb * 2**20, always))
        self._settings = settings
        self._checkers = checkers or Checkers(settings.home / "cache" / "verdicts")
        self._retries: dict[tuple[str, str], Retry] = {}  # by name and version
        self._wanted: dict[str, str] = {}  # the version by name, as the registry said last
        self._candidates: dict[str, ServedModel] = {}  # by name
        self._asked: dict[str, Future[None]] = {}  # the loads of models that somebody waits for, by name
        self._refused: dict[tuple[str, str], str] = {}  # why, by name and version: another try would not change it
        self._first: set[str] | None = None  # models of the first look whose champion is neither loaded nor refused yet
        self._lock = threading.Lock()  # of all these
        self._wake, self._ending = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="loader")

    @property
    def unready(self) -> str:
        """Why no request should come yet; empty once each champion of the first look is loaded or was refused."""
        with self._lock:
            if self._first is None:
                return "the first look at the registry has not ended"
            waiting = sorted(self._first)
        return f"not loaded yet: {', '.join(waiting)[:300]}" if waiting else ""

    def refused(self, name: str) -> str:
        """Why the candidate beside a model can never be served; empty where it can, or nobody knows yet."""
        candidate = name + CANDIDATE
        return self._refused.get((candidate, self._wanted.get(candidate, "")), "")

    def start(self) -> None:
        """Begin to poll."""
        self._checkers.warm_up()
        self._thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._ending = True
        self._wake.set()
        self._checkers.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._thread.join(timeout=10)

    def wake(self) -> None:
        """Look now: somebody knows that something has changed."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            try:
                self.look()
            except Exception as error:
                # The registry may be away in many ways; what serves goes on serving.
                log.warning("the registry does not answer, serving goes on: %s", str(error)[:300])
                with self._lock:
                    self.errors["registry"] = str(error)[:300]
            self._wake.wait(POLL_SECONDS)
            if not self._ending:
                self._wake.clear()

    def once(self) -> None:
        """Look, and wait until what was found is loaded or refused."""
        wait(self.look())

    def look(self) -> list["Future[None]"]:
        """Compare what serves with what should, and begin to load what is new.

        The registry is asked once (once for each thousand models), and once more for each version that is to be loaded.
        """
        own = self._settings.installation
        found = {shown_model(name, own): w for name, w in desired(runs.client(self._settings), own).items()}
        wanted = {name: one.champion for name, one in found.items() if one.champion}
        rollouts = {name: (one.record.generation, one.rollout) for name, one in found.items() if one.rollout}
        candidates = {name + CANDIDATE: rollout.version for name, (_, rollout) in rollouts.items()}
        with self._lock:
            self._wanted = wanted | candidates
            self.rollouts = rollouts
            self.put_back = {name: one.record.put_back for name, one in found.items() if one.record.put_back}
            self.errors = {name: text for name, text in self.errors.items() if name in self._wanted}
            self.errors |= {f"{name} (record)": one.problem for name, one in found.items() if one.problem}
            self._promote_candidates()
            for name in set(self.models) - set(wanted):
                self.models = {served: model for served, model in self.models.items() if served != name}
                log.info("%s has no champion any more, it is not served", name)
            self._stand_beside()
            due = [(name, number) for name, number in self._wanted.items() if self._is_due(name, number)]
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self.loading |= {name: Loading(number, since) for name, number in due}
            first = {name for name in wanted if self.shelf.stays(name)} - set(self.models)
            self._first = first if self._first is None else self._first & set(wanted)
            moved = [name for name, one in found.items() if one.is_moved and self._may_adopt(name, one)]
            adopting = [self._loaders.submit(self._adopt, name, found[name]) for name in moved]
            return [*adopting, *(self._loaders.submit(self._load, name, number) for name, number in due)]

    def _promote_candidates(self) -> None:
        """A candidate that became the champion serves on as it is; it need not be loaded again."""
        for name, model in list(self._candidates.items()):
            champion = name.removesuffix(CANDIDATE)
            if self._wanted.get(champion) == model.version and champion in self.models:
                self.models = {**self.models, champion: model}
                log.info("serving version %s of %s", model.version, champion)
            if self._wanted.get(name) != model.version:
                del self._candidates[name]

    def _stand_beside(self) -> None:
        """Let the loaded candidates answer as their rollouts say; what was counted in a stage stays with it."""
        besides = {}
        for name, (generation, rollout) in self.rollouts.items():
            model, before = self._candidates.get(name + CANDIDATE), self.besides.get(name)
            if model is None or name not in self.models:
                continue
            is_same = before is not None and before.generation == generation and before.model is model
            besides[name] = before if before is not None and is_same else Beside(model, rollout, generation)
        self.besides = besides

    def _serving(self, name: str) -> ServedModel | None:
        return self._candidates.get(name) if name.endswith(CANDIDATE) else self.models.get(name)

    def _is_due(self, name: str, number: str) -> bool:
        """Whether to load a version now; one of a name at a time."""
        serving = self._serving(name)
        if serving is not None and serving.version == number:
            self.errors.pop(name, None)  # the alias moved back from a version that could not be loaded
            return False
        if serving is None and not name.endswith(CANDIDATE) and not self.shelf.stays(name):
            return False  # see `want`
        return name not in self.loading and time.monotonic() >= self._retries.get((name, number), Retry()).not_before

    def _load(self, name: str, number: str) -> None:
        """Load a version and let it answer; where it cannot be loaded the old one goes on."""
        model, problem = None, None
        try:
            model = self._loaded(name, number)
        except Exception as error:
            # Files that are refused and models that cannot be read alike: /status says why.
            log.error("version %s of %s is not loaded: %s", number, name, error)
            problem = error
        with self._lock:
            del self.loading[name]
            self._asked.pop(name, None)
            if self._wanted.get(name) != number:  # the alias has moved on meanwhile
                return
            if problem is not None:
                self.errors[name] = f"version {number}: {problem}"[:500]
                longest = LONGEST_REFUSAL if isinstance(problem, Refused) else LONGEST_PAUSE
                self._retries[name, number] = self._retries.get((name, number), Retry()).later(longest)
                if not isinstance(problem, MlflowAway):
                    self._refused[name, number] = str(problem)[:500]
            elif model is not None:
                self._put(name, model)
            if self._first is not None and not isinstance(problem, MlflowAway):
                self._first.discard(name)

    def _put(self, name: str, model: ServedModel) -> None:
        """Let a loaded version answer."""
        if name.endswith(CANDIDATE):
            self._candidates[name] = model
        else:
            self.models = {**self.models, name: model}
            self._make_room(name)
        self._stand_beside()
        self.errors.pop(name, None)
        self._retries.pop((name, model.version), None)
        self._refused.pop((name, model.version), None)
        log.info("serving version %s of %s", model.version, name)

    def _make_room(self, newest: str) -> None:
        """Drop models that were not asked for long, where there are too many; whoever waits for one gets its answer."""
        # A champion stays while a candidate stands beside it: what was counted of both would be lost with it.
        gone = self.shelf.too_many(self.models, {newest, *self.rollouts})
        if gone:
            self.models = {name: model for name, model in self.models.items() if name not in gone}
            log.info("not in memory any more: %s", ", ".join(gone)[:500])
            self._loaders.submit(give_back)

    @property
    def known(self) -> list[str]:
        """The models that have a champion, in memory or not."""
        return list(dict.fromkeys([*self.models, *(name for name in self._wanted if not name.endswith(CANDIDATE))]))

    def knows(self, name: str) -> bool:
        """Whether a model has a champion that is loaded when it is asked."""
        return name in self._wanted and bool(self.shelf.room) and not name.endswith(CANDIDATE)

    def want(self, name: str) -> "Future[None]":
        """Load the champion of a model that is not in memory; all who ask wait for the same load.

        Args:
            name: of a model that `knows` knows.

        Returns:
            What ends when it is loaded or refused; `errors` says which.
        """
        with self._lock:
            if name in self._asked:
                return self._asked[name]
            number = self._wanted.get(name, "")
            due = self._retries.get((name, number), Retry()).not_before
            if name in self.models or not number or name in self.loading or time.monotonic() < due:
                done: Future[None] = Future()
                done.set_result(None)
                return done
            self.loading[name] = Loading(number, datetime.now(UTC).isoformat(timespec="seconds"))
            self._asked[name] = self._loaders.submit(self._load, name, number)
            return self._asked[name]

    def _loaded(self, name: str, number: str) -> ServedModel | None:
        """The version, its signature verified, fetched, checked and loaded; None where the alias has moved on."""
        registered = self._settings.registered(name.removesuffix(CANDIDATE))
        with runs.connection_errors(self._settings):
            if name.endswith(CANDIDATE):
                version = models.get_version(self._settings, registered, number)
            else:
                version = models.champion(runs.client(self._settings), registered)
        if version is None or str(version.version) != number:
            return None
        folder, digests = model_files.fetch_signed(self._settings, version, self._settings.home / "cache" / "served")
        python_models.check_served(self._settings, version)
        self._checkers.judge(version.name, number, folder, digests)
        model = ServedModel.load(version.name, number, folder, digests, checked=True)
        model.size = sum((folder / path).stat().st_size for path in digests)
        return model.logged_by(version.tags, self._settings.home)

    def _may_adopt(self, name: str, one: Desired) -> bool:
        """Whether to write into the record now that an alias was moved; what failed is tried again later."""
        key = name, f"alias {one.alias or one.champion}"
        if time.monotonic() < self._retries.get(key, Retry()).not_before:
            return False
        self._retries[key] = self._retries.get(key, Retry()).later(LONGEST_PAUSE)
        return True

    def _adopt(self, name: str, one: Desired) -> None:
        try:
            record = adopt(self._settings, self._settings.registered(name))
        except Exception as error:  # nobody waits for it: the alias serves anyway
            log.warning("the record of %s does not follow its alias: %s", name, str(error)[:300])
            return
        with self._lock:
            self._retries.pop((name, f"alias {one.alias or one.champion}"), None)
        if record is not None and record.put_back:
            log.warning("%s: %s", name, record.put_back)
            self.wake()
        elif record is not None:
            log.info("%s: version %s is the champion, %s", name, record.champion or "none", record.by)
            self.wake()
