"""``aiverify sign`` and ``aiverify attest`` as commands: what they say, what they never say, and how they end."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from end_to_end import Machine
from local_authority import Holder, Traits, authority
from local_sigstore import ISSUER, LocalSigstore
from local_tuf import LocalTuf
from signed_models import pem, write_model

IDENTITY = "release@example.test"
# A browser: it opens the address, and follows where it is sent.
BROWSER = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    write_model(machine.here / "model")
    return machine


@pytest.fixture
def signed_with(machine: Machine, key: ec.EllipticCurvePrivateKey) -> list[str]:
    """The options to sign with a key whose public half is ``key.pub``."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (machine.here / "key.pem").write_bytes(private)
    (machine.here / "key.pub").write_bytes(pem(key))
    return ["--key", "key.pem"]


@pytest.fixture
def instance(machine: Machine, sigstore: LocalSigstore) -> list[str]:
    """The options of a private instance."""
    (machine.here / "root.json").write_text(json.dumps(sigstore.trusted_root()))
    (machine.here / "config.json").write_text(json.dumps(sigstore.signing_config()))
    return ["--trusted-root", "root.json", "--signing-config", "config.json"]


def verified(machine: Machine, *options: str) -> bool:
    report = machine.run("verify", "model", *options, "--format", "json").report
    return [one["outcome"] for one in report["signatures"]] == ["verified"]


def test_a_folder_is_signed_with_a_key_and_verifies(machine: Machine, signed_with: list[str]) -> None:
    ran = machine.run("sign", "model", *signed_with, "--ignore", "README.md")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("SIGNED  model/model.sig: 3 files by the key with SHA-256 ")
    assert "left out: README.md" in ran.out
    assert verified(machine, "--key", "key.pub")


def test_a_folder_is_signed_with_a_certificate_and_verifies(machine: Machine) -> None:
    root = authority()
    middle = authority("CN=Middle", root)
    holder = Holder(Traits(), middle)
    private = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in {"key": private, "leaf": holder.pem, "chain": middle.pem, "root": root.pem}.items():
        (machine.here / f"{name}.pem").write_bytes(content)
    options = ["--key", "key.pem", "--certificate", "leaf.pem", "--certificate-chain", "chain.pem"]
    ran = machine.run("sign", "model", *options, "--method", "shards")
    assert (ran.code, ran.err) == (0, "")
    assert verified(machine, "--ca", "root.pem", "--ca-subject", "CN=Release")


def test_a_token_signs_keyless_and_is_never_printed(
    machine: Machine, sigstore: LocalSigstore, instance: list[str]
) -> None:
    token = sigstore.token(IDENTITY)
    trusted = instance[:2]
    for way in (
        machine.run("sign", "model", *instance, "--identity-token", token, "-v"),
        machine.run("sign", "model", *instance, "-v", SIGSTORE_IDENTITY_TOKEN=token),
        machine.run("sign", "model", *trusted, "--identity-token", token),
        machine.run("sign", "model", "--identity-token", token, "--key", "nowhere"),
        machine.run("sign", "model", "--help", SIGSTORE_IDENTITY_TOKEN=token),
    ):
        assert token not in way.out + way.err
    assert verified(machine, *trusted, "--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER)


def test_a_ci_job_needs_no_options_but_the_instance(machine: Machine, sigstore: LocalSigstore) -> None:
    content, config = json.dumps(sigstore.trusted_root()).encode(), json.dumps(sigstore.signing_config()).encode()
    with LocalTuf(content) as tuf:
        tuf.publish(content, version=2, signing_config=config)
        (machine.here / "tuf.json").write_bytes(tuf.root)
        options = ["--tuf-url", tuf.url, "--tuf-root", "tuf.json"]
        ran = machine.run("sign", "model", *options, **sigstore.ci_job())
        assert (ran.code, ran.err) == (0, "")
        assert f"by {sigstore.person} (issuer {ISSUER})" in ran.out
        assert verified(machine, *options, "--cert-identity", sigstore.person, "--cert-oidc-issuer", ISSUER)


@pytest.mark.parametrize("browser", [True, False])
def test_a_person_signs_with_a_browser_or_with_a_code(
    machine: Machine, sigstore: LocalSigstore, instance: list[str], browser: bool
) -> None:
    (machine.here / "browser.py").write_text(BROWSER)
    environ = machine.environ(BROWSER=f"{sys.executable} {machine.here / 'browser.py'} %s", TERM="dumb")
    options = [] if browser else ["--oauth-force-oob"]
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "aiverify", "sign", "model", *instance, *options]
    with subprocess.Popen(
        command, cwd=machine.here, env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        if not browser:
            address = next(line for line in running.stderr if line.strip().startswith("http")).strip()
            asked = subprocess.run(
                [sys.executable, "-c", BROWSER.replace(".read()", "") + "; print(1)", address],
                capture_output=True,
                check=False,
            )
            assert asked.returncode == 0
            os.write(mine, next(iter(sigstore._consents)).encode() + b"\n")
        out, err = running.communicate(timeout=60)
    os.close(mine)
    os.close(theirs)
    assert running.returncode == 0, err
    assert f"by {sigstore.person} (issuer {ISSUER})" in out


def test_the_password_of_a_key_comes_from_the_environment_or_is_asked_for(
    machine: Machine, key: ec.EllipticCurvePrivateKey
) -> None:
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (machine.here / "key.pem").write_bytes(locked)
    sign = ["sign", "model", "--key", "key.pem"]
    ran = machine.run(*sign)
    assert (ran.code, "has a password" in ran.err) == (2, True)
    ran = machine.run(*sign, AIVERIFY_KEY_PASSWORD="guess")
    assert (ran.code, "password is wrong" in ran.err, "guess" in ran.err) == (2, True, False)
    assert not (machine.here / "model/model.sig").exists()
    assert machine.run(*sign, AIVERIFY_KEY_PASSWORD="secret").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nobody whose identity could sign"),
        (["--certificate", "key.pem"], "--key"),
        (["--key", "key.pem", "--certificate-chain", "key.pem"], "--certificate"),
        (["--key", "key.pub"], "not a private key"),
        (["--key", "nowhere.pem"], "nowhere.pem: cannot be read"),
        (["--key", "key.pem", "--certificate", "key.pub"], "not a certificate"),
        (["--key", "key.pem", "--identity-token", "x"], "cannot both sign"),
        (["--key", "key.pem", "--staging"], "needs no trusted root"),
        (["--identity-token", "x", "--trusted-root", "nowhere.json"], "does not say where to sign"),
        (["--key", "key.pem", "--ignore", "nowhere"], "no such file or folder"),
        (["--key", "key.pem", "--bundle", "model/config.json"], "is no signature"),
        (["--key", "key.pem", "--bundle", "nowhere/model.sig"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    machine: Machine, signed_with: list[str], options: list[str], said: str
) -> None:
    before = sorted(path.name for path in (machine.here / "model").rglob("*"))
    ran = machine.run("sign", "model", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) <= 2
    assert sorted(path.name for path in (machine.here / "model").rglob("*")) == before


def test_a_folder_that_is_not_there_is_what_is_said(machine: Machine, signed_with: list[str]) -> None:
    ran = machine.run("sign", "nowhere", *signed_with)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: nowhere cannot be read: ")


def test_signing_with_a_key_imports_no_sigstore(machine: Machine, signed_with: list[str]) -> None:
    code = "import sys; sys.argv[0] = 'aiverify'; from aiverify.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'sigstore', 'tuf', 'torch', 'requests'} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code, "sign", "model", *signed_with],
        cwd=machine.here,
        env=machine.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"
