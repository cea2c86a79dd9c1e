"""The key that signs is in the state folder alone; who only serves needs public keys."""

import shutil

import pytest

from airloom.deployment.record import deploy
from airloom.errors import CorruptFile, KeyRefused, SignatureRefused
from airloom.registry import keys, models, signatures, vouch
from airloom.settings import Settings


def version_of(small, number):
    return models.get_version(small.settings, "small", number)


def test_the_key_is_in_the_state_folder_alone_and_for_its_owner_alone(small):
    small.register("one")
    folder = small.settings.home / "keys"
    assert folder.stat().st_mode & 0o077 == 0
    private = (folder / "signing.pem").read_text()
    assert (folder / "signing.pem").stat().st_mode & 0o077 == 0
    secret = "".join(private.splitlines()[1:-1])
    for file in (small.settings.home / "mlflow").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    assert secret not in repr(keys.signing_key(small.settings))


def test_programs_that_need_a_key_at_once_make_one(small):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = {key.id for key in pool.map(lambda _: keys.signing_key(small.settings), range(8))}
    assert made == set(keys.trusted(small.settings))


@pytest.mark.parametrize("harm", ["missing", "open", "nonsense", "unreadable", "trusted"])
def test_a_key_that_is_lost_open_or_damaged_is_told_with_what_to_do(small, harm, monkeypatch):
    small.register("one")
    file = small.settings.home / "keys" / "signing.pem"
    match harm:
        case "missing":
            file.unlink()
            error, says, hint = KeyRefused, "is gone", "airloom keys rotate"
        case "open":
            file.chmod(0o644)
            error, says, hint = KeyRefused, "others may read the signing key", "chmod 600"
        case "nonsense":
            file.write_text("no key")
            error, says, hint = CorruptFile, "is damaged", "airloom keys rotate"
        case "unreadable":
            file.unlink()
            file.mkdir()
            file.chmod(0o700)
            error, says, hint = KeyRefused, "cannot be read", "rights"
        case _:
            (file.parent / "trusted.json").write_text('{"keys": [{"id": "x"}]}')
            error, says, hint = CorruptFile, "trusted.json is damaged", "backup"
    with pytest.raises(error, match=says) as caught:
        small.register("two")
    assert hint in caught.value.hint


def test_a_rotated_key_signs_and_the_old_one_stays_trusted_until_it_is_revoked(small):
    first = small.register("one").version
    before = keys.signing_key(small.settings).id
    after = keys.rotate(small.settings)
    second = small.register("two").version
    assert [signatures.check(small.settings, version_of(small, number)).id for number in (first, second)] == [
        before,
        after.id,
    ]
    keys.revoke(small.settings, before[:8])
    deploy(small.settings, "small", second)
    with pytest.raises(SignatureRefused, match="revoked on"):
        deploy(small.settings, "small", first)
    vouch.sign_one(small.settings, f"small/{first}")
    deploy(small.settings, "small", first)


def test_a_server_elsewhere_needs_the_public_keys_only(small, tmp_path):
    number = small.register("one").version
    other = Settings(home=tmp_path / "other", tracking_uri=small.settings.mlflow_uri)
    with pytest.raises(SignatureRefused, match="not trusted here"):
        signatures.check(other, version_of(small, number))
    file = shutil.copy(small.settings.home / "keys" / "trusted.json", tmp_path / "public.json")
    other = Settings(home=tmp_path / "other", tracking_uri=small.settings.mlflow_uri, trusted_keys=str(file))
    signatures.check(other, version_of(small, number))
    assert not (other.home / "keys" / "signing.pem").exists()


def test_another_installation_is_trusted_by_its_public_key(small, tmp_path):
    number = small.register("one").version
    own = keys.trusted(small.settings)[keys.signing_key(small.settings).id]
    (tmp_path / "ours.pem").write_text(keys.public_pem(own))
    other = Settings(home=tmp_path / "other", tracking_uri=small.settings.mlflow_uri)
    assert keys.trust(other, tmp_path / "ours.pem", "laboratory").label == f"{own.id} (laboratory)"
    assert signatures.check(other, version_of(small, number)).name == "laboratory"
    keys.revoke(other, own.id)
    with pytest.raises(SignatureRefused, match="revoked"):
        signatures.check(other, version_of(small, number))


def test_a_full_disk_or_a_kill_between_the_two_files_leaves_a_key_that_works(small):
    keys.signing_key(small.settings)
    (small.settings.home / "keys" / "trusted.json").unlink()  # a backup of the private key alone came back
    number = small.register("one").version
    deploy(small.settings, "small", number)
