"""The options that say whose signature is expected, and under which root, in a process of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from end_to_end import Machine
from local_authority import Holder, Traits, authority, sign_with_certificate
from local_sigstore import ISSUER, LocalSigstore
from local_tuf import LocalTuf
from signed_models import payload_of, pem, sign_keyless, sign_with_key, write_bundle, write_model

IDENTITY = "https://github.com/acme/models/.github/workflows/release.yml@refs/tags/v1"
RUN = {"12": "https://github.com/acme/models", "14": "refs/tags/v1"}


@pytest.fixture(scope="module")
def sigstore() -> Iterator[LocalSigstore]:
    with LocalSigstore() as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    write_model(machine.here / "model")
    return machine


def test_a_certificate_with_a_pinned_subject(machine: Machine) -> None:
    root = authority()
    model = machine.here / "model"
    (machine.here / "ca.pem").write_bytes(root.pem)
    write_bundle(sign_with_certificate(payload_of(model), Holder(Traits(), root)), model / "model.sig")
    assert machine.run("verify", "model", "--ca", "ca.pem").code == 0
    assert machine.run("verify", "model", "--ca", "ca.pem", "--ca-subject", "CN=Release,O=Acme").code == 0
    ran = machine.run("verify", "model", "--ca", "ca.pem", "--ca-subject", "CN=Evil")
    assert (ran.code, "AIV204" in ran.out) == (1, True)


def test_two_of_three_by_the_policy(machine: Machine) -> None:
    model = machine.here / "model"
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("alice", "bob", "carol")}
    for name, key in keys.items():
        (machine.here / f"{name}.pub").write_bytes(pem(key))
    members = ", ".join(f'{{ key = "{name}.pub" }}' for name in keys)
    (machine.here / "aiverify.toml").write_text(f"[[signers]]\nthreshold = 2\nof = [{members}]\n")
    write_bundle(sign_with_key(payload_of(model), keys["alice"]), model / "model.sig")
    ran = machine.run("verify", "model")
    assert (ran.code, "AIV212" in ran.out) == (1, True)
    write_bundle(sign_with_key(payload_of(model), keys["bob"]), machine.here / "bob.sig")
    assert machine.run("verify", "model", "--bundle", "bob.sig", "--bundle", model / "model.sig").code == 0
    shutil.move(machine.here / "bob.sig", model / "model.bob.sig")
    ran = machine.run("verify", "model", "--format", "json")
    assert (ran.code, [one["outcome"] for one in ran.report["signatures"]]) == (0, ["verified", "verified"])


def test_an_identity_with_claims_under_a_root_from_a_tuf_repository(machine: Machine, sigstore: LocalSigstore) -> None:
    model = machine.here / "model"
    write_bundle(sign_keyless(payload_of(model), sigstore, IDENTITY, run=RUN), model / "model.sig")
    policy = f'[[signers]]\nidentity = "https://github.com/acme/**"\nissuer = "{ISSUER}"\nsource_ref = "refs/tags/*"\n'
    (machine.here / "aiverify.toml").write_text(policy)
    with LocalTuf(json.dumps(sigstore.trusted_root()).encode()) as tuf:
        (machine.here / "root.json").write_bytes(tuf.root)
        trust = ("--tuf-url", tuf.url, "--tuf-root", "root.json")
        assert machine.run("verify", "model", *trust).code == 0
    ran = machine.run("verify", "model", *trust, "--offline", "--format", "json")
    assert ran.code == 0
    assert ran.report["signatures"][0]["root"].startswith(f"the trusted root from {tuf.url}, newest service of ")
    (machine.here / "aiverify.toml").write_text(policy.replace("tags", "heads"))
    ran = machine.run("verify", "model", *trust, "--offline", "--format", "json")
    assert (ran.code, ran.report["findings"][0]["rule"]) == (1, "AIV204")
    assert ran.report["findings"][0]["evidence"]["source_ref"] == "refs/tags/v1"


def test_staging_is_not_production(machine: Machine, vectors: Path) -> None:
    shutil.copy(vectors / "sigstore.bundle.json", machine.here / "model.sig")
    who = ("--cert-identity", "stefanb@us.ibm.com", "--cert-oidc-issuer", "https://sigstore.verify.ibm.com/oauth2")
    ran = machine.run("verify", "model", "--bundle", "model.sig", *who, "--staging", "--format", "json")
    assert ran.report["signatures"][0]["outcome"] == "failed"
    assert ran.report["signatures"][0]["root"].startswith("the staging root inside sigstore ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tuf-url", "https://tuf.example"], "--tuf-root are needed together"),
        (["--tuf-root", "root.json"], "--tuf-root are needed together"),
        (["--staging", "--trusted-root", "root.json"], "several trusted roots"),
        (["--ca-subject", "CN=a"], "no authority is named"),
        (["--ca", "ca.pem", "--key", "a.pub"], "cannot be expected beside"),
        (["--ca", "nowhere.pem"], "cannot read the certificates"),
        (["--key", "/dev/zero"], "cannot read the public key"),
        (["--cert-identity", "*", "--cert-oidc-issuer", "https://i"], "anybody's"),
        (["--trusted-root", "broken.json"], "broken.json cannot be used"),
    ],
)
def test_options_that_make_no_sense_are_said_to(machine: Machine, options: list[str], said: str) -> None:
    (machine.here / "broken.json").write_text("{}")
    ran = machine.run("verify", "model", *options)
    assert (ran.code, said in ran.err) == (2, True), ran.err


@pytest.fixture
def vectors() -> Path:
    return Path(__file__).parents[1] / "signatures" / "vectors"
