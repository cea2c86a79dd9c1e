"""Every `airloom dataset` command as a user has it: what it prints, for people and for programs, and how it refuses."""

import contextlib
import io
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from airloom.cli import main
from airloom.cli.datasets import app

PROJECT = Path(__file__).resolve().parents[4]
HOW_TO = (PROJECT / "docs" / "how-to" / "datasets.md").read_text()


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass
class Cli:
    """The command line in a folder that is home's parent, project and working folder."""

    folder: Path

    def __call__(self, *arguments: str) -> Done:
        out, err, code = io.StringIO(), io.StringIO(), 0
        places = {"AIRLOOM_HOME": str(self.folder / "home"), "AIRLOOM_PROJECT": str(self.folder)}
        with (
            mock.patch.dict(os.environ, places),
            mock.patch.object(sys, "argv", ["airloom", "dataset", *arguments]),
            mock.patch.object(main.app, "registered_groups", [*main.app.registered_groups]),  # `main` adds to them
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main.main()
            except SystemExit as error:
                code = int(error.code or 0)
        return Done(code, out.getvalue(), err.getvalue())


def flights(first: int, count: int, **changes: object) -> pa.Table:
    numbers = range(first, first + count)
    rows = {
        "flight": [f"AA{100 + n % 60}" for n in numbers],
        "hour": [n % 24 for n in numbers],
        "miles": [100.5 + 7 * (n * 7 % 30) + (n > 29) / 4 for n in numbers],
        "late": [n % 3 == 0 for n in numbers],
    }
    return pa.table(rows | changes)


def write_csv(path: Path, table: pa.Table) -> None:
    from pyarrow import csv

    csv.write_csv(table, path)


@pytest.fixture
def airloom(tmp_path: Path) -> Cli:
    write_csv(tmp_path / "jan.csv", flights(0, 30))
    return Cli(tmp_path)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What the how-to tells to type, run in its order: output by command."""
    airloom = Cli(tmp_path_factory.mktemp("story"))
    write_csv(airloom.folder / "jan.csv", flights(0, 30))
    pq.write_table(flights(30, 30), airloom.folder / "feb.parquet")
    write_csv(airloom.folder / "corrected.csv", flights(17, 1).set_column(2, "miles", [[150.125]]))
    with (airloom.folder / "corrected.csv").open("a") as file:
        file.write('"AA140",16,151.125,true\n')
    found, identity = {}, ""
    for block in re.findall(r"```(\w+)\n(.*?)```", HOW_TO, re.S):
        for line in block[1].splitlines():
            if line.startswith("airloom dataset "):
                line = line.partition(" #")[0].strip().replace("<id>", identity)
                done = found[line] = airloom(*shlex.split(line)[2:])
                assert done.code == 0, f"{line}\n{done.err}"
                identity = done.out.split()[0] if " snapshot " in line else identity
        if block[0] == "python":
            places = {"AIRLOOM_HOME": str(airloom.folder / "home"), "AIRLOOM_PROJECT": str(airloom.folder)}
            with mock.patch.dict(os.environ, places):
                exec(block[1], {})  # noqa: S102 - the document's own example
    found["folder"] = airloom  # type: ignore[assignment]
    return found


def said(story: dict[str, Done], command: str) -> str:
    return next(done.out + done.err for line, done in story.items() if line.startswith(f"airloom dataset {command}"))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("propose-expectations", r"configs/expectations/flights\.json: \d+ expectations, drafted from 30 rows"),
        ("create", r"flights@v1: 30 rows, id [0-9a-f]{12}\n"),
        ("commit", r"flights@v2: 60 rows, id [0-9a-f]{12}\n"),
        ("list", r"flights@v2 +tabular +60 rows  February"),
        ("log", r"flights@v2  \S+  60 rows  .+: February  \[month=2\]\nflights@v1 .*January"),
        ("show", r"(?s)rows +60.*key +flight.*changed +added 30, deleted 0.*hour: min 0.*late: false: 40, true: 20"),
        (
            "diff",
            r"(?s)flights@v1 -> flights@v2\nrows: 30 added, 0 removed, 30 kept\nshards: 1 added"
            r".*label false: 20 -> 40\nlabel true: 10 -> 20.*miles: mean .*PSI",
        ),
        ("verify", r"flights@v2: 4 objects are whole, 0 were fetched anew"),
        ("fix", r"flights@v3: 60 rows"),
        ("remove", r"flights@v4: 58 rows"),
        ("tag", r"flights@golden is flights@v3"),
        ("compact", r"flights@v4: revision 1, 1 shards"),
        ("delete", r"deleted: flights@v2"),
        ("snapshot", r"^[0-9a-f]{64}  READY\n"),
        ("fetch", r"(?s)READY\nflights@v3: train \d+, test \d+"),
        ("export", r"flights\.parquet: 60 rows"),
        ("forget", r"(?s)1 row would be forgotten.*REDACTED: .*flights@v3 \(1\).*without them: flights@v5"),
        ("export flights@v3 left", r"left\.parquet: 59 rows"),
    ],
)
def test_the_how_to_works_as_it_is_written(story, command, says):
    assert re.search(says, said(story, command)), said(story, command)


def test_what_the_story_left_behind(story):
    airloom = story["folder"]
    rows = pq.read_table(airloom.folder / "flights.parquet").to_pylist()
    assert [row["miles"] for row in rows[-2:]] == [150.125, 151.125]
    assert (airloom.folder / "shift.png").read_bytes().startswith(b"\x89PNG")
    fetched = next(done for line, done in story.items() if " fetch " in line)
    rows = re.search(r"train (\d+), test (\d+)", fetched.out)
    assert int(rows[1]) + int(rows[2]) == 30 - 1  # of February; the corrected row came with another commit
    assert "deleted flights@v2" in airloom("show", "flights@v2").err


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["log", "flights"], {"name", "number", "rows", "message", "author", "tags", "commit", "id"}),
        (["list"], {"name", "number", "rows", "type", "key"}),
        (["show", "flights@v1"], {"name", "columns", "shards", "bytes", "statistics", "changed", "revision"}),
        (["diff", "flights@v1", "flights@v5"], {"rows", "shards", "schema", "labels", "shift", "old", "new"}),
        (["verify", "flights"], {"version", "objects", "repaired"}),
        (["tag", "flights@v1", "old"], {"tag", "version"}),
        (["snapshot", "flights@v1"], {"id", "state"}),
        (["quarantine", "list"], set()),
    ],
)
def test_programs_get_json(story, arguments, keys):
    found = story["folder"](*arguments, "--json").json
    assert all(keys <= set(record) for record in (found if isinstance(found, list) else [found]))


def commands() -> list[tuple[str, typer.core.TyperCommand]]:
    whole = typer.main.get_command(app)
    below = whole.commands["quarantine"].commands
    return [*((n, c) for n, c in whole.commands.items() if n != "quarantine")] + [
        (f"quarantine {n}", c) for n, c in below.items()
    ]


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_help_of_every_command_says_what_it_does_and_shows_one_that_parses(name, command):
    example = re.search(rf"Example: airloom dataset ({name} ?.*)", command.help)
    assert example, f"{name} shows no example"
    assert len(command.help.splitlines()[0]) > 20
    assert all(getattr(p, "help", None) for p in command.params), f"an option of {name} is not explained"
    command.make_context(name, shlex.split(example[1])[len(name.split()) :])  # raises where an option is unknown


def test_the_list_of_commands_is_that_of_the_book(airloom):
    done = airloom("--help")
    listed = set(re.findall(r"^│ ([a-z][a-z-]+) ", done.out, re.M))
    assert listed == {name.split()[0] for name, _ in commands()}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "flights", "jan.csv", "-m", "x"], r"is a dataset flights already\n  -> .*commit"),
        (
            ["commit", "flights", "jan.csv", "-m", "x", "--key", "hour"],
            r"the key 'flight', not 'hour'\n  -> leave the key",
        ),
        (["commit", "flights", "jan.csv", "-m", "x", "--classes", "a,b"], r"row 2: the label 'true' is none of the 2"),
        (["commit", "flights", "jan.csv", "-m", " "], r"message ' ' is empty.*\n  -> say what is new"),
        (["commit", "flights", "jan.csv", "-m", "x", "--author", "<>"], r"'<>' is no name of an author"),
        (["commit", "flights", "jan.csv", "-m", "x", "--tag", "A b"], r"'A b' is no tag\n  -> lower case"),
        (["commit", "flights", "jan.csv", "-m", "x", "--suite", "none.json"], r"no expectation suite none.json"),
        (["commit", "flights", "none.csv", "-m", "x"], r"no file 'none.csv'\n  -> check the path"),
        (["commit", "flights", "flights.parquet/x", "-m", "x"], r"no file 'flights.parquet/x'"),
        (["fix", "flights", "jan.csv", "--rows", "1", "-m", "x"], r"30 rows were given for 1 to replace"),
        (["fix", "flights", "jan.csv", "--rows", "1,", "-m", "x"], r"--rows '1,' is no list of row numbers"),
        (["remove", "flights", "--rows", "0-99999999999", "-m", "x"], r"no row 99999999999\n  -> rows are 0 to 56"),
        (["remove", "flights", "--rows", "9-3", "-m", "x"], r"'9-3' is no list"),
        (["remove", "flights", "--rows", "٣", "-m", "x"], r"is no list of row numbers"),
        (["remove", "flights", "--rows", "1,1", "-m", "x"], r"a row is given twice"),
        (["remove", "flights", "--key", "ZZ1", "-m", "x"], r"no row with the key 'ZZ1'"),
        (["remove", "flights", "-m", "x"], r"say which rows\n  -> either --rows .* or --key"),
        (["remove", "flights", "--rows", "1", "--key", "AA101", "-m", "x"], r"say which rows"),
        (["compact", "flights"], r"as few as there can be"),
        (["tag", "flights@v1", "v9"], r"'v9' is no tag"),
        (["tag", "flights@v1", "golden"], r"names another version\n  -> --move"),
        (["delete", "flights@v1", "--reason", ""], r"a deletion needs a reason"),
        (["delete", "flights@v9", "--reason", "x"], r"no version flights@v9\n  -> the newest is flights@v5"),
        (["log", "flight"], r"no dataset flight\n  -> did you mean flights"),
        (["log", "flights@v1"], r"'flights@v1' is no name of a dataset"),
        (["show", "flights@silver"], r"no tag flights@silver\n  -> tags of flights: flights@golden"),
        (["diff", "flights@v1", "flights@v9"], r"no version flights@v9"),
        (["diff", "flights@v1", "flights@v5", "--picture", "jan.csv/x.png"], r"jan.csv\n  -> look at that path"),
        (["verify", "../flights"], r"is no name of a dataset"),
        (["snapshot", "flights", "--split", "train=x"], r"'train=x' is not name=fraction\n  -> for example"),
        (["snapshot", "flights", "--split", "train=nan"], r"does not sum to 1"),
        (["snapshot", "flights", "--since", "5"], r"since is 0 to 4"),
        (["snapshot", "flights", "--tag", "month=9", "--wait"], r"no rows since version 0 with tags month=9"),
        (["fetch", "abc"], r"'abc' is no id of a snapshot\n  -> 64"),
        (["fetch", "0" * 64], r"there is no snapshot 0000.*\n  -> .*snapshot NAME"),
        (["export", "flights@v1", "jan.csv"], r"jan.csv exists\n  -> give a path"),
        (["export", "flights@v1", "jan.csv/x"], r"File exists: jan.csv"),
        (["export", "flights@v1", "x", "--form", "xls"], r"'xls' is not known\n  -> one of parquet, folder, hf"),
        (["export", "flights@v1", "x", "--form", "folder"], r"type tabular do not go into a folder"),
        (["export", "flights@v1", "x", "--of", "train"], r"'flights@v1' is no id of a snapshot"),
        (["propose-expectations", "flights", "--write"], r"is a suite .*flights.json already\n  -> edit it"),
        (["propose-expectations", "boats"], r"no dataset boats"),
        (["quarantine", "show", "x"], r"'x' is no id of a batch"),
        (
            ["quarantine", "drop", "flights-0123456789ab"],
            r"no batch flights-0123456789ab in quarantine\n  -> quarantine",
        ),
        (["quarantine", "release", "../x", "--author", "A", "--reason", "x"], r"'../x' is no id"),
        (["commit", "flights", "jan.csv"], r"Missing option '--message'"),
        (["snapshot", "flights", "--since", "x"], r"Invalid value for '--since'"),
        (["commmit"], r"No such command 'commmit'"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_mistake_is_named_with_its_value_and_the_next_step_and_changes_nothing(story, arguments, says):
    airloom = story["folder"]
    before = airloom("log", "flights").out
    done = airloom(*arguments)
    assert done.code != 0
    assert done.out == ""
    assert re.search(says, done.err), done.err
    assert airloom("log", "flights").out == before
    assert not (airloom.folder / "x").exists()


def test_an_empty_home_is_looked_at_without_being_made(airloom):
    assert airloom("list").out == "no datasets yet\n"
    assert airloom("list", "--json").json == []
    assert airloom("quarantine", "list").out == "quarantine is empty\n"
    for command in ("log", "show", "verify", "compact", "propose-expectations"):
        done = airloom(command, "flights")
        assert (done.code, done.out) == (1, "")
        assert "there is no dataset flights\n" in done.err
        assert "lies in no project (no airloom.toml from there upward)" in done.err
        assert done.err.endswith("known: none\n")
    assert not (airloom.folder / "home").exists()


def test_without_a_suite_nothing_is_taken_and_the_command_that_drafts_one_is_named(airloom):
    done = airloom("create", "flights", "jan.csv", "-m", "x")
    assert "no expectation suite" in done.err
    command = re.search(r"`airloom dataset (propose-expectations flights FILE --write)`", done.err)[1]
    assert airloom(*command.replace("FILE", "jan.csv").split()).code == 0
    assert airloom("create", "flights", "jan.csv", "-m", "x").code == 0
    printed = airloom("propose-expectations", "flights@v1").json
    assert printed == json.loads((airloom.folder / "configs" / "expectations" / "flights.json").read_text())


@pytest.fixture
def created(airloom: Cli) -> Cli:
    assert airloom("propose-expectations", "flights", "jan.csv", "--label", "late", "--write").code == 0
    assert airloom("create", "flights", "jan.csv", "--label", "late", "-m", "one").code == 0
    return airloom


def test_a_batch_is_looked_at_dropped_and_released(created: Cli):
    write_csv(created.folder / "spoiled.csv", flights(0, 3).set_column(1, "hour", [[1, 2, 77]]))
    file = created.folder / "configs" / "expectations" / "flights.json"
    suite = json.loads(file.read_text())
    hour = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "hour", "min_value": 0, "max_value": 23}}
    file.write_text(json.dumps(suite | {"expectations": [*suite["expectations"], hour]}))  # as a person edits a draft
    for kept in (1, 2):
        done = created("commit", "flights", "spoiled.csv", "-m", f"try {kept}", "--author", "Ada", "--tag", "a")
        assert (done.code, done.out) == (1, "")
        assert "3 rows for flights did not pass: hour:" in done.err and "77 in row 2" in done.err
        assert created("log", "flights").out.count("\n") == 1
    first, second = (batch["id"] for batch in created("quarantine", "list", "--json").json)
    assert f"{first}  flights  3 rows  Ada: try 1" in created("quarantine", "list").out
    shown = created("quarantine", "show", second)
    assert re.search(r"failed: hour: .*77 in row 2\nreport: (\S+\.html)", shown.out)
    assert Path(created("quarantine", "show", second, "--json").json["page"]).exists()
    assert f"{first} is gone" in created("quarantine", "drop", first).err
    assert "a release needs a reason" in created("quarantine", "release", second, "--author", "B", "--reason", " ").err
    done = created("quarantine", "release", second, "--author", "Bo", "--reason", "77 is right")
    assert done.out == "flights@v2: 33 rows, released by Bo\n"
    version = created("show", "flights", "--json").json
    assert (version["released"], version["author"], version["tags"]) == ("Bo: 77 is right", "Ada", ["a"])
    assert created("quarantine", "list").out == "quarantine is empty\n"


def test_the_same_again_makes_no_version_and_says_so(created: Cli):
    for more in ([], ["--replace"]):
        done = created("commit", "flights", "jan.csv", "-m", "again", *more)
        assert (done.code, done.out) == (1, "")
        assert re.search(r"flights@v1 (ends with|has) exactly these rows\n  -> nothing was committed", done.err)


def test_a_replacement_keeps_the_columns_unless_the_type_is_said_anew(created: Cli):
    write_csv(created.folder / "other.csv", flights(0, 5).drop_columns(["hour"]))
    assert "hour" in created("commit", "flights", "other.csv", "-m", "x", "--replace").err
    suite = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (created.folder / "any.json").write_text(json.dumps({"name": "any", "expectations": [suite]}))
    more = ["--replace", "--type", "tabular", "--suite", "any.json"]
    assert created("commit", "flights", "other.csv", "-m", "x", *more).out.startswith("flights@v2: 5 rows")
    done = created("diff", "flights@v1", "flights@v2")
    assert "column hour: int64 -> absent" in done.out


def test_rows_are_removed_by_their_keys_as_they_are_written(airloom: Cli):
    rows = {"age": [30, 31, 32, 33], "patient": [7, 8, 7, 9], "ill": [0, 1, 1, 0]}
    write_csv(airloom.folder / "visits.csv", pa.table(rows))
    write_csv(airloom.folder / "corrected.csv", pa.table({"age": [40], "patient": [10], "ill": [0]}))
    roles = ("--key", "patient", "--label", "ill")
    assert airloom("propose-expectations", "visits", "visits.csv", *roles, "--write").code == 0
    assert airloom("create", "visits", "visits.csv", *roles, "-m", "x").code == 0
    assert "'x7' is no int64, as the key patient is" in airloom("remove", "visits", "--key", "x7", "-m", "x").err
    assert (
        "'007' is no int64, as the key patient is: it would become 7"
        in airloom("remove", "visits", "--key", "007", "-m", "x").err
    )
    refused = airloom("remove", "visits", "--key", "7", "--key", "11", "--key", "12", "-m", "x")
    assert "visits@v1 has no row with the key '11', '12'" in refused.err
    assert airloom("fix", "visits", "corrected.csv", "--rows", "3", "-m", "the wrong patient").code == 0
    write_csv(airloom.folder / "both.csv", pa.table({"age": [41, 50], "patient": [10, 8], "ill": [1, 1]}))
    assert airloom("fix", "visits", "both.csv", "--by-key", "-m", "ages").code == 0
    write_csv(airloom.folder / "several.csv", pa.table({"age": [41], "patient": [7], "ill": [1]}))
    assert (
        "in visits@v3 several rows have the key '7'"
        in airloom("fix", "visits", "several.csv", "--by-key", "-m", "m").err
    )
    assert airloom("export", "visits", "out.parquet").code == 0
    assert pq.read_table(airloom.folder / "out.parquet").select(["age", "patient"]).to_pylist()[2:] == [
        {"age": 41, "patient": 10},
        {"age": 50, "patient": 8},
    ]
    assert "either --rows 3,17,20-25 or --by-key" in airloom("fix", "visits", "both.csv", "-m", "m").err
    assert "no row with the key '9'" in airloom("remove", "visits", "--key", "9", "-m", "x").err
    assert airloom("remove", "visits", "--key", "7", "--key", "10", "-m", "x", "--json").json["rows"] == 1


def test_a_version_or_a_split_is_exported(created: Cli):
    made = created("snapshot", "flights", "--split", "a=0.5", "--split", "b=0.5", "--wait", "--json").json
    assert made["state"] == "READY"
    total = 0
    for split in ("a", "b"):
        done = created("export", made["id"], f"{split}.parquet", "--of", split, "--json").json
        total += done["rows"]
        assert pq.read_table(created.folder / f"{split}.parquet").num_rows == done["rows"]
    assert total == 30
    assert "has no split 'c'" in created("export", made["id"], "c.parquet", "--of", "c").err
    found = created("fetch", made["id"], "--json").json
    assert sum(found["snapshot"]["rows"].values()) == 30


def test_damage_is_named_by_verify_and_mended_when_asked(created: Cli):
    (shard,) = [p for p in (created.folder / "home/data/cache/files/md5").rglob("*") if p.is_file() and p.suffix == ""][
        :1
    ]
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    done = created("verify", "flights")
    assert done.code == 1 and str(shard) in done.err and "--repair" in done.err
    assert created("verify", "flights", "--repair", "--json").json["repaired"] == [shard.parent.name + shard.name]
    assert created("verify", "flights").out == "flights@v1: 2 objects are whole, 0 were fetched anew\n"


def test_the_page_of_commands_imports_nothing_heavy() -> None:
    import subprocess

    code = "import sys; from airloom.cli.datasets import app; print([m for m in %r if m in sys.modules])"
    heavy = ["torch", "mlflow", "optuna", "dvc", "bentoml", "great_expectations", "pandas", "pyarrow", "numpy"]
    done = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_create_says_the_types_and_why(airloom):
    (airloom.folder / "shops.csv").write_text("zip;turnover;label\n00501;88,5;1\n00502;35,0;0\n")
    how = ["--delimiter", ";", "--decimal", ","]
    assert airloom("propose-expectations", "shops", "shops.csv", "--write", *how).code == 0
    done = airloom("create", "shops", "shops.csv", "-m", "first", *how)
    types = "  type tabular\n  zip: text\n  turnover: float64\n  label: int64, the label\n"
    assert done.out.partition("\n")[2] == types
    assert (
        "column zip is text: as a number, '00501' in row 2 would change (--column zip=TYPE says otherwise)" in done.err
    )
    (airloom.folder / "more.csv").write_text("zip,turnover,label\n00503,1,1\n")
    refused = airloom("commit", "shops", "more.csv", "-m", "x", "--column", "zip=int64")
    assert (refused.code, "shops has the column 'zip' of type text, not int64" in refused.err) == (1, True)
    assert airloom("commit", "shops", "more.csv", "-m", "x", "--column", "zip=text", "--suite", "none.json").code == 1
    (airloom.folder / "texts.jsonl").write_text('{"text": "good", "label": "y"}\n{"text": "bad", "label": "n"}\n')
    assert airloom("propose-expectations", "texts", "texts.jsonl", "--write").code == 0
    assert (
        "  type text\n  text: text\n  label: text, the label"
        in airloom("create", "texts", "texts.jsonl", "-m", "x").out
    )


@pytest.mark.parametrize(("quote", "there"), [('"', ["07", "7", "0007"]), ("", None)])
def test_a_key_is_compared_as_it_is_written(airloom, quote, there):
    keys = ["007", "07", "7", "0007"] if quote else ["7", "8", "9", "10"]
    rows = "".join(f"{quote}{key}{quote},{n},{n % 2}\n" for n, key in enumerate(keys))
    (airloom.folder / "keys.csv").write_text("patient,age,label\n" + rows)
    airloom("propose-expectations", "keys", "keys.csv", "--key", "patient", "--write")
    assert airloom("create", "keys", "keys.csv", "--key", "patient", "-m", "x").code == 0
    done = airloom("remove", "keys", "--key", "007", "-m", "gone")
    if there is None:
        assert done.code == 1
        assert "'007' is no int64, as the key patient is: it would become 7" in done.err
    else:
        assert airloom("export", "keys", "keys.parquet").code == 0
        assert pq.read_table(airloom.folder / "keys.parquet")["patient"].to_pylist() == there
