"""What `airloom doctor` finds in the project: its files, their suites, their DAGs, the packages that are installed."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from airloom import project_file
from airloom.datasets.validation.validate import suite_path
from airloom.errors import AirloomError
from airloom.project import git, packages
from airloom.settings import Settings
from airloom.spec.load import find_pipelines, load_pipeline
from airloom.spec.pipeline import BUILT, Pipeline
from airloom.stack.airflow_api import AirflowApi
from airloom.stack.finding import Finding


def project(settings: Settings) -> Iterator[Finding]:
    """What can be seen without a stack."""
    root = settings.project
    lacking = [name for name in ("dags", "configs/pipelines") if not (root / name).is_dir()]
    lacking += [] if (root / project_file.FILE).is_file() else [project_file.FILE]
    detail = f"{root} lacks {', '.join(lacking)}" if lacking else str(root)
    yield Finding("project", not lacking, detail, "`airloom init NAME` makes one; or go to its folder")
    pipelines, broken = _pipelines(root)
    yield from broken
    for dataset in sorted({pipeline.dataset.name for pipeline in pipelines.values()}):
        if not (path := suite_path(settings, dataset)).is_file():
            fix = f"airloom dataset propose-expectations {dataset} FILE --write"
            yield Finding("expectations", False, f"there is no {path}: nothing can be committed to {dataset}", fix)
    if tracked := git.run(root, "ls-files", "--", str(settings.home)):
        detail = f"git tracks {len(tracked.splitlines())} files of the state folder, {tracked.splitlines()[0]} first"
        yield Finding("git", False, detail, f"git rm -r --cached {settings.home}")
    if settings.job_python:
        yield _job_python(settings)
    if old := sorted(_old_packages()):
        yield Finding("packages", False, "; ".join(old[:5]), "install with this release's constraints.txt")


def dags(settings: Settings, api: AirflowApi) -> Iterator[Finding]:
    """Pipeline files that Airflow has no DAG of, and DAGs of pipelines whose file is gone."""
    pipelines, _ = _pipelines(settings.project)
    built = {dag["dag_id"] for dag in api.dags(BUILT)}
    files = settings.project / "dags"
    for name in sorted(set(pipelines) - built):
        fix = f"a file in {files} that calls build_dags, as `airloom init` writes it; Airflow reads it within seconds"
        yield Finding("DAGs", False, f"Airflow has no DAG of pipeline {name}", fix)
    for name in sorted(built - set(pipelines)):
        fix = f"bring its file back, or delete the DAG in Airflow: `airflow dags delete {name}`"
        yield Finding("DAGs", False, f"DAG {name} was built from a pipeline file that is gone", fix)


def _pipelines(root: Path) -> tuple[dict[str, Pipeline], list[Finding]]:
    pipelines, broken = {}, []
    for file in find_pipelines(root):
        try:
            pipeline = load_pipeline(file)
        except AirloomError as error:
            broken.append(Finding("pipeline", False, error.message, error.hint))
        else:
            pipelines[pipeline.pipeline] = pipeline
    return pipelines, broken


def _job_python(settings: Settings) -> Finding:
    """Whether the environment of jobs has what they need."""
    fix = f"{settings.job_python} -m pip install 'airloom[training]', with this release's constraints.txt"
    try:
        lacking = sorted({"airloom", "torch"} - set(packages.lock(settings.project, settings.job_python)))
    except AirloomError as error:
        return Finding("jobs", False, error.message, error.hint)
    detail = f"{settings.job_python} lacks {', '.join(lacking)}" if lacking else settings.job_python
    return Finding("jobs", not lacking, detail, fix)


def _old_packages() -> Iterator[str]:
    """Packages that are installed and are not what this release was made for; those of other roles may be missing."""
    for text in metadata.requires("airloom") or ():
        requirement = Requirement(text)
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} {version} is installed, {requirement.specifier} is needed"
