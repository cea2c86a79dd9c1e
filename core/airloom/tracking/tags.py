"""Every tag that Airloom writes on MLflow's runs, model versions and registered models. Imports nothing."""


class Tag:
    """Names of tags. One that a record on disk holds never changes. Search for the attribute to find who reads it."""

    # MLflow's own
    PARENT = "mlflow.parentRunId"
    USER = "mlflow.user"  # who wanted it; MLflow shows it as who created the run
    SOURCE_NAME = "mlflow.source.name"  # what trains
    SOURCE_TYPE = "mlflow.source.type"
    SOURCE_COMMIT = "mlflow.source.git.commit"  # of the project
    SOURCE_REPOSITORY = "mlflow.source.git.repoURL"
    NOTE = "mlflow.note.content"  # the description, in Markdown
    CONTEXT = "mlflow.data.context"  # of a dataset input

    # Runs: which run it is
    KEY = "airloom.key"  # the run's name in the grammar of `airloom.names`; a retry finds the run again by it
    KIND = "airloom.kind"  # of a child run: train, trial, failed_trial
    CANDIDATE = "airloom.candidate"
    OUTCOME = "airloom.outcome"  # of a pipeline run: deployed, registered, refused, rolled back, failed, …
    RESOLVED_BY = "airloom.resolved_by"  # the id of the task that resolved it; another one may not share its key
    CAUSE = "airloom.cause"  # of a run that an alarm started: the monitor's decision; its model has to be better
    SPEC = "airloom.spec.sha256"  # digest of the definition that `resolve` fixed; an artifact holds it
    REUSED = "airloom.reused"  # `airloom.reused.<step>`: the run that a step with a HIT takes its result from
    CACHE = "airloom.cache"  # `airloom.cache.<step>`: the key of what the step read

    # Runs and versions: on which data
    DATASET = "airloom.dataset"  # digits@v3
    DATASET_ID = "airloom.dataset.id"
    DATASET_COMMIT = "airloom.dataset.commit"
    SNAPSHOT = "airloom.snapshot"  # its id
    SNAPSHOT_RECORD = "airloom.snapshot.record"  # all of it, as JSON
    TEST_SPLIT = "airloom.test_split"  # digest of the test rows

    # Runs and versions: with which code, and where
    CODE = "airloom.code"  # the beginning of the six below
    CODE_FUNCTION = "airloom.code.function"
    CODE_SHA256 = "airloom.code.sha256"
    CODE_COMMIT = "airloom.code.commit"
    CODE_DIRTY = "airloom.code.dirty"
    CODE_DIFF = "airloom.code.diff"
    CODE_UNTRACKED = "airloom.code.untracked"  # files that the training read and no commit has; it is dirty then
    ENVIRONMENT = "airloom.environment"
    HARDWARE = "airloom.hardware"
    SEED = "airloom.seed"
    THREADS = "airloom.threads"
    TORCH = "airloom.torch"  # the torch that trained the model

    # Runs and versions: what came of it
    ENDED = "airloom.ended"
    PRETRAINED = "airloom.pretrained"  # the weights that it began with, by name, as JSON
    WEIGHTS = "airloom.weights"  # sha256 of the trained weights
    MODEL_URI = "airloom.model_uri"
    DIGESTS = "airloom.digests"
    GRAPH = "airloom.graph"  # inputs and outputs of the graph, rtol, and how far it was from torch, as JSON
    METRICS = "airloom.metrics"
    PARAMETERS = "airloom.parameters"
    GATE = "airloom.gate"  # of a run: passed, refused, overridden, not judged; of a version: the reasons
    EVIDENCE = "airloom.evidence"
    EVIDENCE_SHA256 = "airloom.evidence.sha256"
    OVERRIDE = "airloom.override"
    BY_HAND = "airloom.by_hand"  # of a version: what `deploy.by_hand` says, where that is not `adopt`
    CARD = "airloom.card"
    LOG = "airloom.log"  # of a version: what the prediction log keeps of the inputs, `log` of the pipeline file as JSON

    # Batch predictions: runs of their own
    BATCH = "airloom.batch"  # the id of what was asked: the same model, rows and columns have the same
    BATCH_MODEL = "airloom.batch.model"  # digits/3, by its name in the registry
    BATCH_DATASET = "airloom.batch.dataset"  # digits@v3
    BATCH_RECORD = "airloom.batch.record"  # a `BatchRecord` of `airloom.lineage.batches`, once all rows are answered
    BATCH_COMMITTED = "airloom.batch.committed"  # the versions of datasets that hold the answers: scores@v1 scores@v2

    # Studies
    STUDY = "airloom.study"  # the study that chose the parameters, or `NOT_TUNED`
    STUDY_TRIALS = "airloom.study.trials"  # the study of so many trials is summed up on the run
    BEST_TRIAL = "airloom.best_trial"
    TRIAL = "airloom.trial"
    SLOT = "airloom.slot"
    TRY = "airloom.try"
    REASON = "airloom.reason"

    # Model versions
    STATE = "airloom.state"
    PIPELINE_RUN = "airloom.pipeline_run"  # the key of the pipeline run
    RUN = "airloom.run"  # its MLflow run
    TRAIN_RUN = "airloom.train_run"  # the MLflow run of the training
    JOB = "airloom.job"  # the key of the job that trained it
    SIGNED = "airloom.signed"  # with which key, and the signature of its other tags: `airloom.registry.signatures`
    COLLECTED = "airloom.collected"  # the day on which its files were removed

    # Taken over from another installation: versions, and the run that stands for the training here
    FROM = "airloom.from"  # the version there, `development.digits/3`
    FROM_RUN = "airloom.from.run"  # the MLflow run of its training

    # Versions: what came of their way to the champion's place, the newest last, as JSON
    ROLLOUT = "airloom.rollout"

    # Experiments
    INSTALLATION = "airloom.installation"  # the id of the installation that claims the name

    # Registered models
    DEPLOYMENT = "airloom.deployment"  # what should serve, as JSON


NOT_JUDGED = "NOT JUDGED: the pipeline file has no gate"  # the value of a version's `Tag.GATE` then
NOT_TUNED = "not tuned"  # the value of `Tag.STUDY` where the pipeline has no study
READY = "ready"  # the value of `Tag.STATE` that makes a version deployable
