"""The user's rules: what a policy file may say, and what it comes to."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiverify.finding import Severity
from aiverify.policy import DEFAULT_POLICY, Policy, PolicyError, SignerRule, Waiver, read_policy
from aiverify.policy.values import Override, Place
from aiverify.report import PolicySource
from aiverify.signers import AllOf, AnyOf, CertificateSigner, Expectation, KeylessSigner, KeySigner, Threshold

DIGEST = "0123456789abcdef" * 4
WAIVER = f'[[waivers]]\nrule = "AIV302"\nsha256 = "{DIGEST}"\nreason = "seen"\nexpires = 2027-01-31\n'
PEM = "-----BEGIN PUBLIC KEY-----\nnot a real one\n-----END PUBLIC KEY-----\n"


def read(folder: Path, text: str | bytes, *, may_weaken: bool = True, table: str | None = None) -> Policy:
    path = folder / "policy.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_policy(path, may_weaken=may_weaken, table=table)


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    policy = read(tmp_path, "")
    assert policy.digest == DEFAULT_POLICY.digest
    assert [source.name for source in policy.sources] == [str(tmp_path / "policy.toml")]


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "publisher.pub").write_text(PEM)
    text = f"""
        require_signature = true
        review_at = "low"
        block_at = "critical"
        accept_unexamined = ["*.gguf"]
        twin_of_blocked = true
        [trust]
        globals = ["mylib.Settings"]
        [[signers]]
        repositories = ["org/*"]
        identity = "me@example.org"
        issuer = "https://issuer.example.org"
        [[signers]]
        key = "publisher.pub"
        {WAIVER}"""
    assert read(tmp_path, re.sub("(?m)^ +", "", text)) == Policy(
        require_signature=True,
        review_at=Severity.LOW,
        block_at=Severity.CRITICAL,
        accept_unexamined=("*.gguf",),
        twin_of_blocked=True,
        trusted_globals=frozenset(("mylib.Settings",)),
        signers=(
            SignerRule(repositories=("org/*",), expected=KeylessSigner("me@example.org", "https://issuer.example.org")),
            SignerRule(expected=KeySigner(PEM.encode(), "publisher.pub")),
        ),
        waivers=(Waiver(rule="AIV302", sha256=DIGEST, reason="seen", expires=datetime.date(2027, 1, 31)),),
        sources=(read(tmp_path, re.sub("(?m)^ +", "", text)).sources),
    )


def test_the_source_is_named_with_the_digest_of_the_file(tmp_path: Path) -> None:
    text = b"twin_of_blocked = true\n"
    (source,) = read(tmp_path, text).sources
    assert source == PolicySource(name=str(tmp_path / "policy.toml"), digest=hashlib.sha256(text).hexdigest())


BROKEN = [
    ("require_signature = 1", "require_signature"),
    ('require_signature = "true"', "require_signature"),
    ("twin_of_blocked = []", "twin_of_blocked"),
    ('review_at = "severe"', "review_at"),
    ("review_at = 3", "review_at"),
    ("review_at = ['low']", "review_at"),
    ("block_at = {}", "block_at"),
    ('block_at = "LOW"', "block_at"),
    ('review_at = "critical"', "review_at"),
    ('block_at = "low"', "block_at"),
    ('accept_unexamined = "*"', "accept_unexamined"),
    ("accept_unexamined = [1]", "accept_unexamined[0]"),
    ('accept_unexamined = [""]', "accept_unexamined[0]"),
    ("trust = true", "trust"),
    ("trust = ['os.system']", "trust"),
    ('[trust]\nglobals = "os.system"', "trust.globals"),
    ("[trust]\nglobals = [[]]", "trust.globals[0]"),
    ("[trust]\nglobal = []", "trust.global"),
    ("signers = 1", "signers"),
    ("signers = [1]", "signers[0]"),
    ("[signers]\nkey = 'k'", "signers"),
    ("[[signers]]", "signers[0]"),
    ("[[signers]]\nidentity = 'a'", "signers[0]"),
    ("[[signers]]\nissuer = 'a'", "signers[0]"),
    ("[[signers]]\nidentity = ''\nissuer = 'a'", "signers[0].identity"),
    ("[[signers]]\nidentity = 'a'\nissuer = ''", "signers[0].issuer"),
    ("[[signers]]\nidentity = 'a'\nissuer = 1", "signers[0].issuer"),
    ("[[signers]]\nkey = 'k'\nidentity = 'a'\nissuer = 'b'", "signers[0]"),
    ("[[signers]]\nkey = 'k'\nissuer = 'b'", "signers[0]"),
    ("[[signers]]\nkey = 1", "signers[0].key"),
    ("[[signers]]\nkey = 'no such file'", "signers[0].key"),
    ("[[signers]]\nkey = '.'", "signers[0].key"),
    ('[[signers]]\nkey = "nul\\u0000"', "signers[0].key"),
    ("[[signers]]\nidentity = 'a'\nissuer = 'b'\nrepositories = 'org/*'", "signers[0].repositories"),
    ("[[signers]]\nidentity = 'a'\nissuer = 'b'\nrepository = ['org/*']", "signers[0].repository"),
    ("waivers = {}", "waivers"),
    ("waivers = ['AIV302']", "waivers[0]"),
    (WAIVER.replace("AIV302", "AIV999"), "waivers[0].rule"),
    (WAIVER.replace('"AIV302"', "302"), "waivers[0].rule"),
    (WAIVER.replace(DIGEST, DIGEST.upper()), "waivers[0].sha256"),
    (WAIVER.replace(DIGEST, DIGEST[:-1]), "waivers[0].sha256"),
    (WAIVER.replace(DIGEST, DIGEST + "\\n"), "waivers[0].sha256"),
    (WAIVER.replace('"seen"', '""'), "waivers[0].reason"),
    (WAIVER.replace("2027-01-31", '"2027-01-31"'), "waivers[0].expires"),
    (WAIVER.replace("2027-01-31", "2027-01-31T00:00:00Z"), "waivers[0].expires"),
    (WAIVER.replace("2027-01-31", "12:00:00"), "waivers[0].expires"),
    *((re.sub(f"(?m)^{key}.*$", "", WAIVER), "waivers[0]") for key in ("rule", "sha256", "reason", "expires")),
    (WAIVER + "file = 'x'", "waivers[0].file"),
    ("requires_signature = true", "requires_signature"),
    ("sources = []", "sources"),
    ("trusted_globals = ['os.system']", "trusted_globals"),
]


@pytest.mark.parametrize(("text", "key"), BROKEN)
def test_a_key_that_is_unknown_or_not_of_its_type_is_an_error_that_names_file_and_key(
    tmp_path: Path, text: str, key: str
) -> None:
    with pytest.raises(PolicyError) as error:
        read(tmp_path, text)
    assert re.match(f"{re.escape(str(tmp_path / 'policy.toml'))}:[0-9]+: {re.escape(key)}: ", str(error.value))
    assert (error.value.key, error.value.source) == (key, str(tmp_path / "policy.toml"))


@pytest.mark.parametrize(
    "content",
    [
        b"require_signature = ",
        b"a = 1\na = 2",
        b"\xff\xfe",
        b"\x00",
        b"x = " + b"[" * 5000,
        b"x = " + b"{a=" * 5000,
        b"x = " + b"1" * 5000,
        b"x = 2027-02-31",
        b"x = 1e999",
        b"a." * 5000 + b"b = 1",
    ],
    ids=lambda content: content[:12],
)
def test_what_is_no_toml_or_no_policy_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PolicyError, match=re.escape(str(tmp_path / "policy.toml"))):
        read(tmp_path, content)


@pytest.mark.parametrize("name", ["nowhere.toml", "", "nul\0.toml", "x" * 5000])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path / name)


def test_a_table_inside_a_project_file_is_read_and_the_rest_left_alone(tmp_path: Path) -> None:
    text = "[project]\nname = 'x'\n[tool.other]\ny = 1\n[tool.aiverify]\nrequire_signature = true\n"
    assert read(tmp_path, text, table="tool.aiverify").require_signature
    for text in ("", "tool = 1", "[tool]\n"):
        assert read(tmp_path, text, table="tool.aiverify").digest == DEFAULT_POLICY.digest
    with pytest.raises(PolicyError, match="must be a table"):
        read(tmp_path, "tool.aiverify = 1", table="tool.aiverify")


WEAKENING = [
    '[trust]\nglobals = ["mylib.Settings"]',
    'accept_unexamined = ["*"]',
    "twin_of_blocked = true",
    WAIVER,
    'block_at = "critical"',
    'review_at = "high"',
]


@pytest.mark.parametrize("text", WEAKENING)
def test_a_source_that_may_only_tighten_is_refused_each_key_that_weakens(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).digest != DEFAULT_POLICY.digest
    with pytest.raises(PolicyError, match="weakens the policy"):
        read(tmp_path, text, may_weaken=False)


@pytest.mark.parametrize(
    "text",
    [
        "require_signature = true",
        'review_at = "low"',
        'review_at = "low"\nblock_at = "medium"',
        "twin_of_blocked = false",
        "[[signers]]\nidentity = 'a'\nissuer = 'b'",
    ],
)
def test_a_source_that_may_only_tighten_may_tighten(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text, may_weaken=False) == read(tmp_path, text)


SIGNER = SignerRule(expected=KeylessSigner("me", "https://issuer"))
CHANGES = [
    {"require_signature": True},
    {"review_at": Severity.LOW},
    {"block_at": Severity.CRITICAL},
    {"trusted_globals": frozenset(("a.b",))},
    {"trusted_globals": frozenset(("a.b", "a.c"))},
    {"accept_unexamined": ("*",)},
    {"twin_of_blocked": True},
    {"signers": (SIGNER,)},
    {"signers": (SignerRule(expected=KeylessSigner("you", "https://issuer")),)},
    {"signers": (SignerRule(expected=KeylessSigner("me", "https://other")),)},
    {"signers": (replace(SIGNER, repositories=("org/*",)),)},
    {"signers": (SignerRule(expected=KeySigner(PEM.encode())),)},
    {"signers": (SignerRule(expected=KeySigner(PEM.encode() + b"\n")),)},
    {"waivers": (Waiver(rule="AIV302", sha256=DIGEST, reason="r", expires=datetime.date(2027, 1, 1)),)},
    {"waivers": (Waiver(rule="AIV303", sha256=DIGEST, reason="r", expires=datetime.date(2027, 1, 1)),)},
    {"waivers": (Waiver(rule="AIV302", sha256="0" * 64, reason="r", expires=datetime.date(2027, 1, 1)),)},
    {"waivers": (Waiver(rule="AIV302", sha256=DIGEST, reason="r", expires=datetime.date(2027, 1, 2)),)},
]


def test_the_digest_changes_with_everything_that_can_change_a_verdict() -> None:
    digests = [DEFAULT_POLICY.digest, *(replace(DEFAULT_POLICY, **change).digest for change in CHANGES)]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_the_digest_does_not_change_with_the_names_of_files() -> None:
    elsewhere = replace(DEFAULT_POLICY, sources=(PolicySource(name="elsewhere.toml", digest="0" * 64),))
    assert elsewhere.digest == DEFAULT_POLICY.digest
    first, second = (
        Policy(signers=(SignerRule(expected=KeySigner(PEM.encode(), name)),)) for name in ("a.pub", "b.pub")
    )
    assert first.digest == second.digest


def test_the_digest_does_not_depend_on_the_order_of_a_set() -> None:
    names = [f"module.name{number}" for number in range(50)]
    assert Policy(trusted_globals=frozenset(names)).digest == Policy(trusted_globals=frozenset(names[::-1])).digest


@pytest.mark.parametrize("repo", ["acme/model", "ACME/model", "Acme/Model"])
def test_settings_for_a_repository_hold_however_its_name_is_written(repo: str) -> None:
    strict = Override(repositories=("Acme/*",), settings=(("require_signature", True),))
    assert Policy(overrides=(strict,)).for_repository(repo).require_signature


@pytest.mark.parametrize(
    ("patterns", "repo", "applies"),
    [
        (("*",), None, True),
        (("*",), "org/name", True),
        (("org/*",), "org/name", True),
        (("org/*",), "other/name", False),
        (("org/*",), None, False),
        (("Org/*",), "org/name", True),
        (("org/*",), "ORG/Name", True),
        (("org/name",), "Org/NAME", True),
        (("**",), None, False),
        (("other/*", "org/name"), "org/name", True),
        ((), "org/name", False),
    ],
)
def test_a_signer_is_expected_for_the_repositories_that_its_rule_names(
    patterns: tuple[str, ...], repo: str | None, applies: bool
) -> None:
    assert SignerRule(expected=SIGNER.expected, repositories=patterns).applies_to(repo) is applies


def test_an_option_names_the_only_signer_and_says_so() -> None:
    other = SignerRule(expected=KeylessSigner("somebody else", "https://issuer"))
    policy = Policy(signers=(other,)).with_signer(SIGNER, "--cert-identity")
    assert policy.signers == (SIGNER,)
    assert policy.require_signature
    assert [source.name for source in policy.record.sources] == ["default policy", "--cert-identity"]
    assert policy.record.digest == policy.digest


FROM_ENVIRONMENT = st.builds(
    Policy,
    require_signature=st.booleans(),
    review_at=st.sampled_from([Severity.INFO, Severity.LOW, Severity.MEDIUM]),
    block_at=st.sampled_from([Severity.MEDIUM, Severity.HIGH]),
    signers=st.sampled_from([(), (SIGNER,)]),
)
FROM_FILE = st.builds(
    Policy,
    require_signature=st.booleans(),
    review_at=st.sampled_from([Severity.INFO, Severity.MEDIUM, Severity.HIGH]),
    block_at=st.sampled_from([Severity.HIGH, Severity.CRITICAL]),
    signers=st.sampled_from([(), (SIGNER,)]),
    trusted_globals=st.sampled_from([frozenset(), frozenset(("a.b",))]),
    twin_of_blocked=st.booleans(),
)


@given(FROM_FILE, FROM_ENVIRONMENT)
def test_tightening_never_loses_what_either_policy_demands(file: Policy, said: Policy) -> None:
    environment = replace(said, places=dict.fromkeys(("review_at", "block_at"), (Place("environment"),)))
    both = file.tightened_by(environment)
    for one in (file, environment):
        assert both.require_signature >= one.require_signature
        assert both.review_at.rank <= one.review_at.rank
        assert both.block_at.rank <= one.block_at.rank
        assert set(both.signers) >= set(one.signers)
    assert both.review_at.rank <= both.block_at.rank
    assert (both.trusted_globals, both.twin_of_blocked) == (file.trusted_globals, file.twin_of_blocked)
    assert both.sources == (*file.sources, *environment.sources)


@given(FROM_FILE)
def test_a_policy_that_says_nothing_tightens_nothing(file: Policy) -> None:
    assert file.tightened_by(DEFAULT_POLICY).digest == file.digest


def test_tightening_does_not_put_one_signer_in_the_place_of_another() -> None:
    with pytest.raises(PolicyError, match="names the expected signers already"):
        Policy(signers=(SIGNER,)).tightened_by(
            Policy(signers=(SignerRule(expected=KeylessSigner("you", "https://issuer")),))
        )


# properties

KEYS = st.sampled_from(
    [
        *("require_signature", "signers", "review_at", "block_at", "accept_unexamined", "twin_of_blocked", "waivers"),
        *("trust", "trust.globals", "x", "tool.aiverify"),
    ]
)
SCALARS = st.one_of(
    st.booleans().map(lambda value: str(value).lower()),
    st.integers().map(str),
    st.floats().map(str),
    st.dates().map(str),
    st.sampled_from(['"low"', '"critical"', '"AIV302"', f'"{DIGEST}"', '""', '"*"', '"a.pub"']),
)
INNER = st.sampled_from(
    ["identity", "issuer", "key", "repositories", "rule", "sha256", "reason", "expires", "globals", "y"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(INNER, inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=12,
)
LINES = st.lists(st.tuples(KEYS, VALUES).map(lambda line: f"{line[0]} = {line[1]}"), max_size=4).map("\n".join)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(LINES.map(str.encode), st.binary(max_size=60)), st.booleans(), st.sampled_from([None, "tool.aiverify"])
)
def test_any_file_gives_a_policy_or_a_policy_error(
    tmp_path: Path, content: bytes, may_weaken: bool, table: str | None
) -> None:
    try:
        policy = read(tmp_path, content, may_weaken=may_weaken, table=table)
    except PolicyError:
        return
    assert policy.review_at.rank <= policy.block_at.rank
    if not may_weaken:
        assert DEFAULT_POLICY.tightened_by(policy).digest == policy.digest


SIGNER_TABLES = [
    (
        "identity = 'a@b'\nissuer = 'i'\nsource_repository = 'r'\nsource_ref = 'refs/tags/*'\nworkflow = 'w'",
        KeylessSigner("a@b", "i", "r", "refs/tags/*", "w"),
    ),
    ("ca = 'publisher.pub'", CertificateSigner(PEM.encode())),
    ("ca = 'publisher.pub'\nsubject = 'CN=Release,O=Acme'", CertificateSigner(PEM.encode(), "CN=Release,O=Acme")),
    (
        "any_of = [{ key = 'publisher.pub' }, { identity = 'a', issuer = 'i' }]",
        AnyOf((KeySigner(PEM.encode()), KeylessSigner("a", "i"))),
    ),
    (
        "threshold = 2\nof = [{ key = 'publisher.pub' }, { identity = 'a', issuer = 'i' }, { ca = 'publisher.pub' }]",
        Threshold(2, (KeySigner(PEM.encode()), KeylessSigner("a", "i"), CertificateSigner(PEM.encode()))),
    ),
    (
        "all_of = [{ key = 'publisher.pub' }, { any_of = [{ identity = 'a', issuer = 'i' }] }]",
        AllOf((KeySigner(PEM.encode()), AnyOf((KeylessSigner("a", "i"),)))),
    ),
]


@pytest.mark.parametrize(("text", "expected"), SIGNER_TABLES)
def test_signers_and_their_combinations_are_read(tmp_path: Path, text: str, expected: Expectation) -> None:
    (tmp_path / "publisher.pub").write_text(PEM)
    (rule,) = read(tmp_path, f"[[signers]]\nrepositories = ['org/*']\n{text}").signers
    assert rule == SignerRule(expected=expected, repositories=("org/*",))


BROKEN_SIGNERS = [
    ("threshold = 1", "signers[0]"),
    ("of = [{ key = 'publisher.pub' }]", "signers[0]"),
    ("threshold = 2\nof = [{ key = 'publisher.pub' }]", "signers[0]"),
    ("threshold = 0\nof = [{ key = 'publisher.pub' }]", "signers[0]"),
    ("threshold = '1'\nof = [{ key = 'publisher.pub' }]", "signers[0].threshold"),
    ("threshold = true\nof = [{ key = 'publisher.pub' }]", "signers[0].threshold"),
    ("threshold = 1\nof = []", "signers[0].of"),
    ("threshold = 1\nof = [1]", "signers[0].of[0]"),
    ("threshold = 1\nof = [{ any_of = [{ key = 'publisher.pub' }] }]", "signers[0].of[0]"),
    ("threshold = 2\nof = [{ key = 'publisher.pub' }, { key = 'publisher.pub' }]", "signers[0]"),
    ("any_of = []", "signers[0].any_of"),
    ("any_of = { key = 'publisher.pub' }", "signers[0].any_of"),
    ("any_of = [{ identity = 'a' }]", "signers[0].any_of[0]"),
    ("any_of = [{ identity = 'a', issuer = 1 }]", "signers[0].any_of[0].issuer"),
    ("any_of = [{ key = 'publisher.pub', repositories = ['*'] }]", "signers[0].any_of[0]"),
    ("any_of = [{ key = 'publisher.pub' }]\nall_of = [{ key = 'publisher.pub' }]", "signers[0]"),
    ("all_of = [{ any_of = [{ kay = 'publisher.pub' }] }]", "signers[0].all_of[0].any_of[0].kay"),
    ("ca = 'no such file'", "signers[0].ca"),
    ("ca = 'publisher.pub'\nsubject = 'nobody'", "signers[0].subject"),
    ("ca = 'publisher.pub'\nsubject = ''", "signers[0].subject"),
    ("subject = 'CN=a'", "signers[0]"),
    ("identity = 'a'\nissuer = 'https://*'", "signers[0]"),
    ("identity = '**'\nissuer = 'i'", "signers[0]"),
    ("identity = 'a'\nissuer = 'i'\nsource_ref = 1", "signers[0].source_ref"),
    ("source_ref = 'refs/tags/*'", "signers[0]"),
]


@pytest.mark.parametrize(("text", "key"), BROKEN_SIGNERS)
def test_a_broken_signer_is_an_error_that_names_the_key(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "publisher.pub").write_text(PEM)
    with pytest.raises(PolicyError) as refused:
        read(tmp_path, f"[[signers]]\n{text}")
    assert re.match(f"{re.escape(str(tmp_path / 'policy.toml'))}:[1-4]: {re.escape(key)}: ", str(refused.value))


def test_signers_are_not_nested_without_end(tmp_path: Path) -> None:
    deep = "any_of = [{ " * 20 + "key = 'publisher.pub'" + " }]" * 20
    with pytest.raises(PolicyError, match="levels deep"):
        read(tmp_path, f"[[signers]]\n{deep}")


@given(st.text(max_size=60))
def test_arbitrary_text_is_a_policy_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        read(tmp_path_factory.getbasetemp(), f"[[signers]]\n{text}".encode("utf-8", "surrogatepass"))
    except PolicyError:
        return
