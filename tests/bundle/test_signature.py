"""A bundle is used only when a trusted key vouches for it."""

import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_line import Tiny

from ml.bundle import Bundle, load_bundle, seal_bundle, sign_bundle
from ml.bundle.keys import key_id, rotate, signing_key, trusted_keys
from ml.errors import BundleError, SettingsError
from ml.settings import Env, Home


@pytest.fixture
def bundle(tiny: Tiny) -> Bundle:
    return tiny.evaluate()


@pytest.fixture
def stranger(tmp_path: Path) -> Home:
    """Another installation, with keys of its own."""
    home = Home(tmp_path / "stranger")
    signing_key(home)
    return home


def _write_private(path: Path, key: object) -> Path:
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    )
    return path


def _write_public(path: Path, key: Ed25519PrivateKey) -> Path:
    public = key.public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_the_private_key_is_private_and_in_no_bundle(tiny: Tiny, bundle: Bundle) -> None:
    assert stat.S_IMODE(tiny.home.signing_key.stat().st_mode) == 0o600
    secret = signing_key(tiny.home).private_bytes_raw()
    text = tiny.home.signing_key.read_text().splitlines()[1]
    for path in bundle.folder.iterdir():
        assert secret not in path.read_bytes()
        assert text.encode() not in path.read_bytes()


def test_reading_a_bundle_needs_the_public_key_alone(tiny: Tiny, bundle: Bundle) -> None:
    tiny.home.signing_key.unlink()
    assert load_bundle(tiny.home, bundle.name).signer == bundle.signer
    assert not tiny.home.signing_key.exists()


def test_without_any_trusted_key_a_bundle_is_refused(tiny: Tiny, bundle: Bundle) -> None:
    shutil.rmtree(tiny.home.root / "keys")
    with pytest.raises(BundleError, match=r"SIGNATURE: signed by key \w+, .* has no key"):
        load_bundle(tiny.home, bundle.name)
    assert not (tiny.home.root / "keys").exists()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_other_byte_in_the_signature_is_refused(
    tiny: Tiny, bundle: Bundle, data: st.DataObject
) -> None:
    path = bundle.folder / "SIGNATURE"
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
    try:
        with pytest.raises(BundleError, match="SIGNATURE"):
            load_bundle(tiny.home, bundle.name)
    finally:
        path.write_bytes(whole)


def test_a_signature_too_long_or_too_short_is_refused(tiny: Tiny, bundle: Bundle) -> None:
    path = bundle.folder / "SIGNATURE"
    whole = path.read_bytes()
    for other in (whole[:-1], whole + b"\n", whole.upper(), b""):
        path.write_bytes(other)
        with pytest.raises(BundleError, match="SIGNATURE: altered"):
            load_bundle(tiny.home, bundle.name)


def test_a_bundle_exchanged_as_a_whole_is_refused(
    tiny: Tiny, bundle: Bundle, stranger: Home, tmp_path: Path
) -> None:
    draft = tmp_path / "draft"
    shutil.copytree(bundle.folder, draft)
    (draft / "card.json").write_bytes((draft / "card.json").read_bytes() + b" ")
    forged = seal_bundle(stranger, draft)
    assert load_bundle(stranger, forged.name) == forged
    shutil.copytree(forged.folder, tiny.home.bundle(forged.name))
    with pytest.raises(BundleError, match=f"signed by key {forged.signer}, which is not trusted"):
        load_bundle(tiny.home, forged.name)


def test_a_signature_of_another_bundle_or_by_a_borrowed_name_is_refused(
    tiny: Tiny, bundle: Bundle, stranger: Home, tmp_path: Path
) -> None:
    path = bundle.folder / "SIGNATURE"
    manifest = (bundle.folder / "MANIFEST").read_bytes()
    ours, theirs = signing_key(tiny.home), signing_key(stranger)
    signer = key_id(ours.public_key())
    for signature in (ours.sign(manifest + b" "), theirs.sign(manifest)):
        path.write_bytes(f"ed25519 {signer} {signature.hex()}\n".encode())
        with pytest.raises(BundleError, match=f"it is not key {signer}'s signature"):
            load_bundle(tiny.home, bundle.name)


def test_an_unsigned_bundle_says_what_to_do_and_can_be_signed(tiny: Tiny, bundle: Bundle) -> None:
    path = bundle.folder / "SIGNATURE"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(BundleError, match=f"not signed .*loupe bundle sign --bundle {bundle.name}"):
        load_bundle(tiny.home, bundle.name)
    assert sign_bundle(tiny.home, bundle.name) == bundle
    assert path.read_bytes() == whole


def test_signing_that_was_killed_leaves_a_bundle_that_can_be_signed(
    tiny: Tiny, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml import files

    def killed(path: Path, content: bytes) -> None:
        path.with_name(f"{path.name}.half").write_bytes(content[:9])
        raise KeyboardInterrupt

    (bundle.folder / "SIGNATURE").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            sign_bundle(tiny.home, bundle.name)
    assert sign_bundle(tiny.home, bundle.name) == bundle


def test_an_altered_bundle_is_not_signed(tiny: Tiny, bundle: Bundle) -> None:
    (bundle.folder / "SIGNATURE").unlink()
    bundle.reference.write_bytes(b"another")
    with pytest.raises(BundleError, match=r"reference\.parquet: altered"):
        sign_bundle(tiny.home, bundle.name)
    assert not (bundle.folder / "SIGNATURE").exists()


def test_a_home_of_an_earlier_version_gets_its_bundle_signed_by_the_next_evaluation(
    tiny: Tiny, bundle: Bundle
) -> None:
    (bundle.folder / "SIGNATURE").unlink()
    shutil.rmtree(tiny.home.root / "keys")
    shutil.rmtree(tiny.home.bundle("index"))  # of another recipe
    again = tiny.evaluate()
    assert again.name == bundle.name
    assert again.signer != bundle.signer


def test_a_new_signing_key_leaves_older_bundles_readable_until_its_trust_ends(
    tiny: Tiny, bundle: Bundle
) -> None:
    old, new = rotate(tiny.home)
    assert old == bundle.signer != new
    assert set(trusted_keys(tiny.home)) == {old, new}
    assert stat.S_IMODE(tiny.home.signing_key.stat().st_mode) == 0o600
    assert load_bundle(tiny.home, bundle.name) == bundle
    (tiny.home.trusted_keys / f"{old}.pub").unlink()
    with pytest.raises(BundleError, match="not trusted"):
        load_bundle(tiny.home, bundle.name)
    assert sign_bundle(tiny.home, bundle.name).signer == new


def test_keys_named_by_the_environment_are_used_as_they_are(tiny: Tiny, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    private = _write_private(tmp_path / "plant.key", key)
    environ = {"LOUPE_HOME": str(tiny.home.root), "LOUPE_SIGNING_KEY": str(private)}
    other = _write_public(tmp_path / "other.pub", Ed25519PrivateKey.generate())
    home = Home.of(Env.read(environ | {"LOUPE_TRUSTED_KEYS": str(other)}))
    with pytest.raises(SettingsError, match="LOUPE_TRUSTED_KEYS names; add it"):
        signing_key(home)
    public = _write_public(tmp_path / "plant.pub", key)
    home = Home.of(Env.read(environ | {"LOUPE_TRUSTED_KEYS": str(public)}))
    made = replace(tiny, env=Env.read(environ), home=home).evaluate
    with pytest.raises(BundleError, match="not trusted here"):
        made()
    assert not (tiny.home.trusted_keys / f"{key_id(key.public_key())}.pub").exists()
    with pytest.raises(SettingsError, match="not this installation's to replace"):
        rotate(home)


def test_where_only_trusted_keys_are_named_nothing_is_sealed_and_no_key_made(
    tmp_path: Path,
) -> None:
    public = _write_public(tmp_path / "plant.pub", Ed25519PrivateKey.generate())
    home = Home.of(Env.read({"LOUPE_HOME": str(tmp_path), "LOUPE_TRUSTED_KEYS": str(public)}))
    with pytest.raises(SettingsError, match="LOUPE_SIGNING_KEY names no key"):
        signing_key(home)
    assert not home.signing_key.exists()


def test_one_file_may_hold_several_trusted_keys(tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(3)]
    pems = [_write_public(tmp_path / "one", key).read_bytes() for key in keys]
    together = tmp_path / "together"
    together.write_bytes(b"".join(pems))
    home = Home(tmp_path, named_trusted_keys=together)
    assert set(trusted_keys(home)) == {key_id(key.public_key()) for key in keys}
    together.write_bytes(pems[0] + pems[1].replace(b"M", b"!"))
    with pytest.raises(BundleError, match="together: the trusted key cannot be read"):
        trusted_keys(home)


@pytest.mark.parametrize("name", ["LOUPE_SIGNING_KEY", "LOUPE_TRUSTED_KEYS"])
def test_a_named_key_that_is_not_there_is_no_reason_to_make_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is .* expected a path that exists"):
        Env.read({name: str(tmp_path / "nowhere")})


def test_a_key_of_another_kind_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    other = _write_private(tmp_path / "other.key", generate_private_key(SECP256R1()))
    with pytest.raises(SettingsError, match=r"other\.key: not an Ed25519 private key"):
        signing_key(Home(tiny.home.root, other))
    tiny.home.trusted_keys.mkdir(parents=True, exist_ok=True)
    broken = tiny.home.trusted_keys / "broken.pub"
    broken.write_text("no key")
    with pytest.raises(BundleError, match=r"broken\.pub: the trusted key cannot be read"):
        trusted_keys(tiny.home)


def test_many_processes_make_one_key(tmp_path: Path, project: Path) -> None:
    script = (
        "import sys, pathlib; from ml.bundle.keys import key_id, signing_key;"
        "from ml.settings import Home; sys.stdin.read();"
        "print(key_id(signing_key(Home(pathlib.Path(sys.argv[1]))).public_key()))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": project}
    # All wait for their input to end, so that they start together.
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for process in processes:
        process.stdin.close()
    found = {process.stdout.read().strip() for process in processes}
    assert all(process.wait(60) == 0 for process in processes)
    home = Home(tmp_path)
    assert found == set(trusted_keys(home))
    assert len(found) == 1
    assert [path.name for path in home.signing_key.parent.glob("[!t.]*")] == ["signing.key"]


def test_a_killed_first_use_leaves_a_key_that_is_trusted_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml.bundle import keys

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    home = Home(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_trust", killed)
        with pytest.raises(KeyboardInterrupt):
            signing_key(home)
    assert trusted_keys(home) == {}
    made = home.signing_key.read_bytes()
    name = key_id(signing_key(home).public_key())
    assert set(trusted_keys(home)) == {name}
    assert home.signing_key.read_bytes() == made
