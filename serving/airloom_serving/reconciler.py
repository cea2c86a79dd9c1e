"""Makes the server serve what the registry says, and keeps serving when the registry is away."""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime

from airloom.errors import MlflowAway
from airloom.names import shown_model
from airloom.registry import model_files, models, python_models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom_serving.served import ServedModel
from airloom_serving.verdicts import Checkers, Refused

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0
LONGEST_PAUSE = 60.0
LONGEST_REFUSAL = 3600.0  # a check that fails costs its whole time
LOADERS = 4  # versions that are loaded at once: one that takes long stops no other


@dataclass(frozen=True)
class Retry:
    """When a version that could not be loaded is tried again."""

    not_before: float = 0.0  # by the monotonic clock
    pause: float = POLL_SECONDS

    def later(self, longest: float) -> "Retry":
        """The time of the next try: each pause is twice as long as the one before."""
        return Retry(time.monotonic() + self.pause, min(2 * self.pause, longest))


@dataclass(frozen=True)
class Loading:
    """A version that is on its way."""

    version: str
    since: str  # ISO 8601, UTC


class Reconciler:
    """Polls the `champion` aliases in a thread of its own, and loads versions in a few others.

    Models of this installation only, by the short name, which an application need not change with the installation.
    `models` is replaced as a whole, so a request sees either the old or the new version, never something between.
    """

    def __init__(self, settings: Settings, checkers: Checkers | None = None) -> None:
        self.models: dict[str, ServedModel] = {}
        self.errors: dict[str, str] = {}
        self.loading: dict[str, Loading] = {}
        self._settings = settings
        self._checkers = checkers or Checkers(settings.home / "cache" / "verdicts")
        self._retries: dict[tuple[str, str], Retry] = {}  # by model and version
        self._champions: dict[str, str] = {}  # what the registry said last
        self._first: set[str] | None = None  # models of the first look whose champion is neither loaded nor refused yet
        self._lock = threading.Lock()  # of all these
        self._stop = threading.Event()
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

    def start(self) -> None:
        """Begin to poll."""
        self._checkers.warm_up()
        self._thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        self._checkers.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:
                # The registry may be away in many ways; what serves goes on serving.
                log.warning("the registry does not answer, serving goes on: %s", str(error)[:300])
                with self._lock:
                    self.errors["registry"] = str(error)[:300]
            self._stop.wait(POLL_SECONDS)

    def once(self) -> None:
        """Look, and wait until what was found is loaded or refused."""
        wait(self.look())

    def look(self) -> list["Future[None]"]:
        """Compare what serves with what should, and begin to load what is new.

        The registry is asked once (once for each thousand models), and once more for each version that is to be loaded.
        """
        own = self._settings.installation
        registered = models.champions(runs.client(self._settings), own)
        champions = {shown_model(name, own): number for name, number in registered.items()}
        with self._lock:
            self._champions = champions
            self.errors = {name: text for name, text in self.errors.items() if name in champions}
            for name in set(self.models) - set(champions):
                self.models = {served: model for served, model in self.models.items() if served != name}
                log.info("%s has no champion any more, it is not served", name)
            due = [(name, number) for name, number in champions.items() if self._is_due(name, number)]
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self.loading |= {name: Loading(number, since) for name, number in due}
            self._first = set(champions) - set(self.models) if self._first is None else self._first & set(champions)
            return [self._loaders.submit(self._load, name, number) for name, number in due]

    def _is_due(self, name: str, number: str) -> bool:
        """Whether to load a champion now; one version of a model at a time."""
        serving = self.models.get(name)
        if serving is not None and serving.version == number:
            self.errors.pop(name, None)  # the alias moved back from a version that could not be loaded
            return False
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
            if self._champions.get(name) != number:  # the alias has moved on meanwhile
                return
            if problem is not None:
                self.errors[name] = f"version {number}: {problem}"[:500]
                longest = LONGEST_REFUSAL if isinstance(problem, Refused) else LONGEST_PAUSE
                self._retries[name, number] = self._retries.get((name, number), Retry()).later(longest)
            elif model is not None:
                self.models = {**self.models, name: model}
                self.errors.pop(name, None)
                self._retries.pop((name, number), None)
                log.info("serving version %s of %s", number, name)
            if self._first is not None and not isinstance(problem, MlflowAway):
                self._first.discard(name)

    def _loaded(self, name: str, number: str) -> ServedModel | None:
        """The version, its signature verified, fetched, checked and loaded; None where the alias has moved on."""
        with runs.connection_errors(self._settings):
            version = models.champion(runs.client(self._settings), self._settings.registered(name))
        if version is None or str(version.version) != number:
            return None
        folder, digests = model_files.fetch_signed(self._settings, version, self._settings.home / "cache" / "served")
        python_models.check_served(self._settings, version)
        self._checkers.judge(version.name, number, folder, digests)
        model = ServedModel.load(version.name, number, folder, digests, checked=True)
        return model.logged_by(version.tags, self._settings.home)
