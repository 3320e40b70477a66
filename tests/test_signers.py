"""The algebra of signers: what is met by whom, and that more signatures never take anything away."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiverify.errors import UsageError
from aiverify.signers import (
    AllOf,
    AnyOf,
    CertificateSigner,
    Expectation,
    KeylessIdentity,
    KeylessSigner,
    KeySigner,
    Proof,
    Signer,
    Threshold,
    any_of,
    description,
    different_signers,
    matches,
    satisfied,
    signers_in,
)

ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/acme/models/.github/workflows/release.yml"
PROVEN = KeylessIdentity(
    f"{WORKFLOW}@refs/tags/v1.2",
    ISSUER,
    source_repository="https://github.com/acme/models",
    source_ref="refs/tags/v1.2",
    workflow=f"{WORKFLOW}@refs/tags/v1.2",
)

A, B, C, D = (KeySigner(name.encode(), name) for name in "ABCD")
LEAVES = (A, B, C, D)
leaves = st.sampled_from(LEAVES)
expectations = st.recursive(
    leaves
    | st.lists(leaves, min_size=1, max_size=4, unique=True).flatmap(
        lambda members: st.integers(1, len(members)).map(lambda count: Threshold(count, tuple(members)))
    ),
    lambda inner: (
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
proofs = st.lists(st.builds(Proof, st.sampled_from("wxyz"), st.frozensets(leaves, max_size=3)), max_size=5)


def proof(who: str, *meets: Signer) -> Proof:
    return Proof(who, frozenset(meets))


@given(expectations, proofs, proofs)
def test_a_further_signature_takes_nothing_away(expected: Expectation, some: list[Proof], more: list[Proof]) -> None:
    if satisfied(expected, some):
        assert satisfied(expected, [*some, *more])


@given(expectations, proofs)
def test_neither_the_order_nor_the_number_of_times_matters(expected: Expectation, some: list[Proof]) -> None:
    assert satisfied(expected, some) == satisfied(expected, some[::-1]) == satisfied(expected, some * 2)


@given(expectations)
def test_without_a_signature_nothing_is_met(expected: Expectation) -> None:
    assert not satisfied(expected, [])


@given(expectations)
def test_when_everybody_has_signed_everything_is_met(expected: Expectation) -> None:
    assert satisfied(expected, [proof(signer.name, signer) for signer in LEAVES])


@given(st.lists(expectations, min_size=1, max_size=4).map(tuple), proofs)
def test_all_fails_where_any_member_fails_and_any_where_all_do(
    members: tuple[Expectation, ...], some: list[Proof]
) -> None:
    failing = [not satisfied(member, some) for member in members]
    assert (not satisfied(AllOf(members), some)) == any(failing)
    assert (not satisfied(AnyOf(members), some)) == all(failing)


@given(expectations, expectations, expectations, proofs)
def test_combinations_distribute_over_each_other(
    one: Expectation, two: Expectation, three: Expectation, some: list[Proof]
) -> None:
    for outer, inner in ((AllOf, AnyOf), (AnyOf, AllOf)):
        left = outer((one, inner((two, three))))
        right = inner((outer((one, two)), outer((one, three))))
        assert satisfied(left, some) == satisfied(right, some)


@given(expectations, proofs)
def test_a_combination_of_one_member_is_that_member(expected: Expectation, some: list[Proof]) -> None:
    assert satisfied(AllOf((expected,)), some) == satisfied(AnyOf((expected,)), some) == satisfied(expected, some)
    assert any_of([expected]) == expected


@given(st.lists(leaves, min_size=1, max_size=4, unique=True).map(tuple), proofs)
def test_a_threshold_of_one_is_any_and_one_of_all_implies_all(members: tuple[Signer, ...], some: list[Proof]) -> None:
    assert satisfied(Threshold(1, members), some) == satisfied(AnyOf(members), some)
    if satisfied(Threshold(len(members), members), some):
        assert satisfied(AllOf(members), some)


@given(st.lists(leaves, min_size=2, max_size=4, unique=True).map(tuple), proofs)
def test_a_higher_threshold_implies_a_lower_one(members: tuple[Signer, ...], some: list[Proof]) -> None:
    met = [satisfied(Threshold(count, members), some) for count in range(1, len(members) + 1)]
    assert met == sorted(met, reverse=True)


@settings(max_examples=200)
@given(st.lists(leaves, min_size=1, max_size=4, unique=True).map(tuple), proofs)
def test_a_threshold_finds_the_best_assignment_of_signers(members: tuple[Signer, ...], some: list[Proof]) -> None:
    meets: dict[str, set[Signer]] = {}
    for one in some:
        meets.setdefault(one.who, set()).update(one.meets)
    seats = [*meets, *[None] * len(members)]
    best = max(
        sum(who is not None and member in meets[who] for member, who in zip(members, chosen, strict=True))
        for chosen in itertools.permutations(seats, len(members))
    )
    assert different_signers(members, some) == best


def test_two_signatures_of_one_signer_count_once() -> None:
    both = Threshold(2, (A, B))
    assert not satisfied(both, [proof("w", A), proof("w", B)])
    assert not satisfied(both, [proof("w", A, B)])
    assert satisfied(both, [proof("w", A), proof("x", B)])


def test_signatures_that_are_tied_together_by_any_word_are_one_signers() -> None:
    members = (KeySigner(b"1"), KeySigner(b"2"), KeySigner(b"3"))
    first, second, between = (
        Proof(who, frozenset({member}), also=also)
        for who, member, also in zip(("a", "b", "a"), members, ("", "", "b"), strict=True)
    )
    assert different_signers(members, [first, second]) == 2
    assert different_signers(members, [first, second, between]) == 1
    assert different_signers(members, [between, second, first]) == 1


def test_a_signer_who_fits_two_patterns_takes_the_place_that_is_left() -> None:
    assert satisfied(Threshold(2, (A, B)), [proof("w", A, B), proof("x", A)])
    assert satisfied(Threshold(2, (A, B)), [proof("x", A), proof("w", A, B)])


@pytest.mark.parametrize(
    ("signer", "met"),
    [
        (KeylessSigner(PROVEN.identity, ISSUER), True),
        (KeylessSigner(PROVEN.identity, ISSUER + "/"), False),
        (KeylessSigner(f"{WORKFLOW}@refs/tags/*", ISSUER), True),
        (KeylessSigner("https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*", ISSUER), True),
        (KeylessSigner("https://github.com/acme/*", ISSUER), False),
        (KeylessSigner("https://github.com/acme/**", ISSUER), True),
        (KeylessSigner("https://github.com/acme2/**", ISSUER), False),
        (KeylessSigner("github.com/acme/**", ISSUER), False),
        (KeylessSigner(PROVEN.identity.upper(), ISSUER), False),
        (KeylessSigner("https://github.com/**", ISSUER, source_repository="https://github.com/acme/models"), True),
        (KeylessSigner("https://github.com/**", ISSUER, source_repository="https://github.com/acme/*"), True),
        (KeylessSigner("https://github.com/**", ISSUER, source_repository="https://github.com/evil/models"), False),
        (KeylessSigner("https://github.com/**", ISSUER, source_ref="refs/tags/*"), True),
        (KeylessSigner("https://github.com/**", ISSUER, source_ref="refs/heads/*"), False),
        (KeylessSigner("https://github.com/**", ISSUER, workflow=f"{WORKFLOW}@**"), True),
        (KeylessSigner("https://github.com/**", ISSUER, workflow=f"{WORKFLOW}"), False),
    ],
)
def test_a_keyless_signer_is_met_by_identity_issuer_and_every_claim(signer: KeylessSigner, met: bool) -> None:
    assert signer.is_met_by(PROVEN) is met


def test_a_claim_that_a_certificate_does_not_make_meets_no_pattern_but_any() -> None:
    bare = KeylessIdentity("dev@example.test", ISSUER)
    assert not KeylessSigner("dev@example.test", ISSUER, source_ref="refs/*").is_met_by(bare)
    assert KeylessSigner("*@example.test", ISSUER).is_met_by(bare)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a.c", "abc", False),
        ("a?c", "abc", False),
        ("a[bc]d", "abd", False),
        ("a[bc]d", "a[bc]d", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a**", "ab/c", True),
        ("a***", "ab/c", True),
        ("*@b", "a@b", True),
        ("*@b", "a@b\n", False),
        ("*", "a\nb", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_only_stars_are_special_in_a_pattern(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@given(st.text())
def test_a_text_without_stars_fits_itself_and_nothing_else(text: str) -> None:
    plain = text.replace("*", "")
    assert matches(plain, plain)
    assert not matches(plain, plain + "x")


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [("", ISSUER), ("a", ""), (" ", ISSUER), ("a", "https://*"), ("*", ISSUER), ("**", ISSUER), ("*@*", ISSUER)],
)
def test_a_signer_who_could_be_anybody_is_none(identity: str, issuer: str) -> None:
    with pytest.raises(UsageError):
        KeylessSigner(identity, issuer)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: AllOf(()),
        lambda: AnyOf(()),
        lambda: Threshold(1, ()),
        lambda: Threshold(0, (A,)),
        lambda: Threshold(2, (A,)),
        lambda: Threshold(-1, (A, B)),
        lambda: Threshold(1, (A, A)),
    ],
)
def test_a_combination_that_means_nothing_does_not_exist(broken: object) -> None:
    with pytest.raises(UsageError):
        broken()  # type: ignore[operator]


@given(st.lists(expectations, min_size=2, max_size=2))
def test_descriptions_are_equal_for_equal_expectations_only(pair: list[Expectation]) -> None:
    one, two = pair
    assert (description(one) == description(two)) == (one == two)


def test_names_of_files_do_not_tell_signers_apart() -> None:
    assert KeySigner(b"pem", "a") == KeySigner(b"pem", "b")
    assert CertificateSigner(b"pem", None, "a") == CertificateSigner(b"pem", None, "b")
    assert CertificateSigner(b"pem", "CN=a") != CertificateSigner(b"pem", "CN=b")


def test_an_expectation_reads_like_a_sentence() -> None:
    one = KeylessSigner("a@b", "https://i", source_ref="refs/tags/*")
    other = CertificateSigner(b"", "CN=Release", "ca.pem")
    expected = AnyOf((Threshold(2, (one, A, other)), AllOf((B, C))))
    assert str(expected) == (
        "2 of (a@b (issuer https://i, ref refs/tags/*), key A, CN=Release under the authority ca.pem)"
        " or all of (key B, key C)"
    )
    assert list(signers_in(expected)) == [one, A, other, B, C]
    assert any_of([]) is None
    assert any_of([A, B]) == AnyOf((A, B))
