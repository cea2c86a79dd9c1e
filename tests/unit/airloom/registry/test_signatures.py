"""Whoever writes to MLflow can name any file, digest and tag; nothing of it is served that our key did not sign."""

import base64
import hashlib
import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from airloom import home
from airloom.cli import main as command_line
from airloom.contracts import Decision, Evaluation
from airloom.deployment.record import deploy
from airloom.deployment.rollouts import roll_back
from airloom.errors import CorruptFile, RegistryError, SignatureRefused, StateError
from airloom.registry import card, keys, models, register, signatures, vouch
from airloom.registry.keys import TrustedKey, key_id
from airloom.stack import migration
from airloom.tracking import runs
from airloom.tracking.tags import Tag

TEXT = st.text(max_size=40)


def version_of(small, number):
    return models.get_version(small.settings, "small", number)


def set_tag(small, number, tag, value):
    runs.client(small.settings).set_model_version_tag("small", number, tag, value)


def forge(small, number):
    """Other files, with digests that fit them: what who writes to MLflow can do."""
    version = version_of(small, number)
    file = small.store_file(models.uri_of(version))
    file.write_bytes(file.read_bytes() + b" ")
    digests = models.digests_of(version)
    (name,) = [name for name in digests if name.endswith("model.onnx")]
    digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    set_tag(small, number, Tag.DIGESTS, json.dumps(digests))


def without_signatures(small):
    """As an earlier release left it."""
    for model in models.list_models(small.settings):
        for version in model.versions:
            runs.client(small.settings).delete_model_version_tag(model.name, version.version, Tag.SIGNED)
    shutil.rmtree(small.settings.home / "keys")
    (small.settings.home / "schema.json").unlink(missing_ok=True)


class FakeVersion:
    """What is looked at of a version."""

    def __init__(self, name, tags):
        self.name, self.version, self.tags = name, "1", tags


@pytest.fixture(scope="session")
def pair():
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    trusted = TrustedKey(key_id(public), "test", base64.b64encode(public).decode(), "2026-01-01")
    return keys.SigningKey(trusted.id, private), {trusted.id: trusted}


@given(st.dictionaries(TEXT.map(lambda name: f"airloom.{name}"), TEXT, max_size=5), TEXT, st.data())
def test_any_change_of_a_name_or_a_tag_is_noticed(pair, tags, name, data):
    key, trusted = pair
    version = FakeVersion(name, tags | signatures.sign(key, name, tags))
    assert signatures.verify_version(version, trusted).id == key.id
    version.tags |= {"someone.else": "x", Tag.STATE: "x", Tag.COLLECTED: "x"}  # not ours, or only keep it from serving
    assert signatures.verify_version(version, trusted).id == key.id
    signed = [tag for tag in tags if tag not in signatures.CHANGING]
    changed = dict(version.tags)
    match data.draw(st.sampled_from(["name", "more", *(["less", "other"] if signed else [])])):
        case "name":
            version.name += "x"
        case "more":
            changed |= {"airloom.one more" + "".join(tags): "x"}
        case "less":
            del changed[data.draw(st.sampled_from(signed))]
        case "other":
            changed[data.draw(st.sampled_from(signed))] += "x"
    version.tags = changed
    with pytest.raises(SignatureRefused, match="were changed"):
        signatures.verify_version(version, trusted)


@given(
    st.one_of(
        TEXT,
        st.recursive(
            st.none() | st.integers() | TEXT,
            lambda more: st.lists(more) | st.dictionaries(st.sampled_from(["form", "key", "signature"]), more),
        ).map(json.dumps),
    )
)
def test_nonsense_is_no_signature_and_no_traceback(pair, text):
    with pytest.raises(SignatureRefused):
        signatures.verify_version(FakeVersion("small", {Tag.SIGNED: text}), pair[1])


@pytest.mark.parametrize("how", ["forged", "unsigned", "copied", "damaged", "other installation"])
def test_what_our_key_did_not_sign_is_neither_deployed_nor_read(small, how, capsys, monkeypatch):
    first, second = small.register("one").version, small.register("two", wrong=(4,)).version
    deploy(small.settings, "small", first)
    says = "were changed"
    match how:
        case "forged":
            forge(small, second)
        case "unsigned":
            runs.client(small.settings).delete_model_version_tag("small", second, Tag.SIGNED)
            says = "is not signed"
        case "copied":
            set_tag(small, second, Tag.SIGNED, version_of(small, first).tags[Tag.SIGNED])
        case "damaged":
            set_tag(small, second, Tag.SIGNED, "{")
            says = "is damaged"
        case _:
            tags, private = version_of(small, second).tags, Ed25519PrivateKey.generate()
            set_tag(
                small,
                second,
                Tag.SIGNED,
                signatures.sign(keys.SigningKey("ab" * 16, private), "small", tags)[Tag.SIGNED],
            )
            says = "'abababababababababababababababab', which is not trusted here"
    with pytest.raises(SignatureRefused, match=says):
        deploy(small.settings, "small", second)
    with pytest.raises(SignatureRefused, match=says):
        card.card(small.settings, "small", second)
    shown = models.show(small.settings, f"small/{second}")
    assert says in shown.refused
    assert (shown.signature, shown.packages, shown.signed_by) == ({}, {}, "")
    assert models.champion(runs.client(small.settings), "small").version == int(first)
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    for command in (["model", "show", f"small/{second}"], ["model", "promote", f"small/{second}"]):
        monkeypatch.setattr("sys.argv", ["airloom", *command])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert ended.value.code == 1
        assert says in capsys.readouterr().err


def test_a_previous_champion_that_was_changed_is_not_rolled_back_to(small):
    for key in ("one", "two"):
        deploy(small.settings, "small", small.register(key).version)
    forge(small, "1")
    with pytest.raises(SignatureRefused, match="were changed"):
        roll_back(small.settings, "small")


def test_a_changed_champion_is_told_before_a_study(small):
    register.ready(small.settings, "small")
    deploy(small.settings, "small", small.register("one").version)
    register.ready(small.settings, "small")
    forge(small, "1")
    with pytest.raises(SignatureRefused, match="were changed"):
        register.ready(small.settings, "small")


def test_registering_the_same_candidate_again_mends_what_was_changed(small):
    ctx = small.ctx("one")
    trained, evaluation = small.train(ctx), Evaluation({"accuracy": 1.0}, "", {}, "p", 10)
    number = register.register(small.settings, ctx, trained, evaluation, Decision(True, [], "e", None)).version
    set_tag(small, number, Tag.DATASET, "other@v1")
    set_tag(small, number, "airloom.more", "x")
    assert register.register(small.settings, ctx, trained, evaluation, Decision(True, [], "e", None)).version == number
    deploy(small.settings, "small", number)
    tags = version_of(small, number).tags
    assert tags[Tag.DATASET] == "digits@v1"
    assert "airloom.more" not in tags


def test_what_an_earlier_release_registered_is_signed_once_after_its_files_were_checked(small):
    for key in ("one", "two", "three"):
        small.register(key)
    damaged = small.store_file(models.uri_of(version_of(small, "2")))
    damaged.write_bytes(damaged.read_bytes() + b" ")
    set_tag(small, "3", Tag.COLLECTED, "2026-01-01")
    without_signatures(small)
    with pytest.raises(SignatureRefused) as caught:
        deploy(small.settings, "small", "1")
    assert "airloom db migrate" in caught.value.hint
    with pytest.raises(StateError, match="3 model versions without a signature"):
        register.ready(small.settings, "small")
    (store,) = [store for store in migration.check(small.settings) if store.name == "signatures"]
    assert (store.state, store.found) == (migration.OLD, "3 without")
    lines: list[str] = []
    migration.migrate(small.settings, lines.append)
    told = dict(line.split(": ", 1) for line in lines if line.startswith("small/"))
    assert told["small/1"] == "signed"
    assert "extra_files/model.onnx is damaged" in told["small/2"]
    assert told["small/3"] == "left without a signature: its files were collected on 2026-01-01"
    assert "small/1" in (small.settings.home / "keys" / "upgrade.json").read_text()
    deploy(small.settings, "small", "1")
    small.register("four")
    runs.client(small.settings).delete_model_version_tag("small", "1", Tag.SIGNED)
    assert migration.migrate(small.settings, print) == []  # once: what comes later is not signed
    with pytest.raises(SignatureRefused, match="is not signed"):
        deploy(small.settings, "small", "1")


def test_a_home_of_this_release_never_signs_what_it_finds(small):
    small.register("one")
    runs.client(small.settings).delete_model_version_tag("small", "1", Tag.SIGNED)
    shutil.rmtree(small.settings.home / "keys")
    assert home.demands_signatures(small.settings.home)
    assert migration.migrate(small.settings, print) == []
    with pytest.raises(SignatureRefused, match="is not signed"):
        deploy(small.settings, "small", "1")


def test_a_home_without_unsigned_versions_demands_signatures_from_its_first_migration_on(small):
    assert not home.demands_signatures(small.settings.home)
    assert migration.migrate(small.settings, print) == []
    assert home.demands_signatures(small.settings.home)


def test_a_person_may_vouch_for_a_version_whose_files_are_what_its_digests_say(small):
    small.register("one")
    runs.client(small.settings).delete_model_version_tag("small", "1", Tag.SIGNED)
    vouch.sign_one(small.settings, "small/1")
    deploy(small.settings, "small", "1")
    small.register("two")
    runs.client(small.settings).delete_model_version_tag("small", "2", Tag.SIGNED)
    file = small.store_file(models.uri_of(version_of(small, "2")))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(CorruptFile):
        vouch.sign_one(small.settings, "small/2")
    set_tag(small, "2", Tag.DIGESTS, "[")
    with pytest.raises(RegistryError, match="has no digests"):
        vouch.sign_one(small.settings, "small/2")
