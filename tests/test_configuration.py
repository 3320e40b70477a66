"""Whom the configuration trusts: every place from which a TARGET could try to set its own rules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from aiverify.configuration import load_policy, named_policy
from aiverify.errors import UsageError
from aiverify.policy import DEFAULT_POLICY, Policy, PolicyError

STRICT = "require_signature = true\n"
LENIENT = "twin_of_blocked = true\n"
PROJECT = "[tool.aiverify]\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(
    here: Path,
    *targets: Path | str,
    explicit: Path | None = None,
    downloads: tuple[Path | None, ...] = (),
    **environment: str,
) -> Policy:
    home: Mapping[str, str] = {"HF_HOME": str(here / "no-home")}
    return load_policy(
        [str(target) for target in targets],
        explicit=explicit,
        downloads=downloads,
        environment={**home, **environment},
        working_directory=here,
    )


def names(policy: Policy) -> list[str]:
    return [source.name for source in policy.sources]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A target, in a working directory that is the folder above it."""
    write(tmp_path / "model" / "config.json", "{}")
    return tmp_path / "model"


def test_without_a_file_the_default_policy_holds(tmp_path: Path, model: Path) -> None:
    assert load(tmp_path, model) == DEFAULT_POLICY


@pytest.mark.parametrize(("name", "text"), [("aiverify.toml", STRICT), ("pyproject.toml", PROJECT + STRICT)])
@pytest.mark.parametrize("below", ["", "one/two"])
def test_the_nearest_file_from_the_working_directory_upwards_counts(
    tmp_path: Path, model: Path, name: str, text: str, below: str
) -> None:
    path = write(tmp_path / name, text)
    here = tmp_path / below
    here.mkdir(parents=True, exist_ok=True)
    policy = load(here, model)
    assert policy.require_signature
    (source,) = policy.sources
    assert source.name == str(path)
    assert source.digest == hashlib.sha256(text.encode()).hexdigest()


def test_our_own_file_comes_before_a_project_file_and_a_nearer_one_before_both(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "pyproject.toml", PROJECT + LENIENT)
    write(tmp_path / "aiverify.toml", STRICT)
    assert names(load(tmp_path, model)) == [str(tmp_path / "aiverify.toml")]
    nearer = write(tmp_path / "here" / "pyproject.toml", PROJECT + LENIENT)
    assert names(load(nearer.parent, model)) == [str(nearer)]


def test_a_project_file_that_does_not_speak_of_us_is_passed_over(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "aiverify.toml", STRICT)
    for text in ("[tool.other]\nx = 1\n", "tool = 1\n", "", "not toml at all"):
        here = write(tmp_path / "here" / "pyproject.toml", text).parent
        assert load(here, model).require_signature


def test_a_broken_project_file_that_speaks_of_us_is_an_error(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "pyproject.toml", PROJECT + STRICT + "\n[[[")
    with pytest.raises(PolicyError, match=r"pyproject\.toml"):
        load(tmp_path, model)


@pytest.mark.parametrize("text", ["#" * (1 << 20) + "\n", ".".join(["a"] * 20_000) + " = 1\n"])
def test_a_project_file_that_nobody_can_read_through_is_an_error_if_it_may_speak_of_us(
    tmp_path: Path, model: Path, text: str
) -> None:
    write(tmp_path / "pyproject.toml", text + PROJECT + STRICT)
    with pytest.raises(PolicyError, match=r"longer than|parts"):
        load(tmp_path, model)


# inside a target


@pytest.mark.parametrize(("name", "text"), [("aiverify.toml", LENIENT), ("pyproject.toml", PROJECT + LENIENT)])
@pytest.mark.parametrize("below", ["", "sub"])
def test_a_file_in_a_target_is_never_read_wherever_one_stands(
    tmp_path: Path, model: Path, name: str, text: str, below: str
) -> None:
    write(model / name, text)
    here = model / below
    here.mkdir(exist_ok=True)
    for target in (model, ".", f"../{model.name}"):
        if target == "." and below:
            continue
        assert not load(here, model, target).twin_of_blocked


def test_a_file_in_a_target_does_not_hide_the_users_own_above_it(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "aiverify.toml", STRICT)
    for name, text in (("aiverify.toml", LENIENT), ("pyproject.toml", PROJECT)):
        write(model / name, text)
    policy = load(model, model)
    assert policy.require_signature
    assert not policy.twin_of_blocked


def test_a_broken_file_in_a_target_does_not_stop_anybody(tmp_path: Path, model: Path) -> None:
    write(model / "aiverify.toml", "[[[")
    write(model / "pyproject.toml", "[tool.aiverify\n")
    assert load(model, model) == DEFAULT_POLICY


def test_the_file_above_a_target_that_is_a_subfolder_of_the_working_directory_is_the_users(
    tmp_path: Path, model: Path
) -> None:
    write(tmp_path / "aiverify.toml", LENIENT)
    assert load(tmp_path, model).twin_of_blocked
    assert load(tmp_path, model / "config.json").twin_of_blocked


def test_one_of_several_targets_is_enough_to_distrust_a_folder(tmp_path: Path, model: Path) -> None:
    here = tmp_path / "here"
    write(here / "aiverify.toml", LENIENT)
    assert load(here, model).twin_of_blocked
    assert not load(here, model, here).twin_of_blocked
    assert not load(here, "org/name", here).twin_of_blocked


def test_a_file_beside_a_target_that_is_a_file_is_not_read(tmp_path: Path) -> None:
    target = write(tmp_path / "download" / "model.bin", "x")
    write(target.parent / "aiverify.toml", LENIENT)
    assert not load(target.parent, target).twin_of_blocked
    with pytest.raises(UsageError, match="inside a target"):
        load(tmp_path, target, explicit=target.parent / "aiverify.toml")


# links


def test_a_link_in_a_target_to_a_lenient_file_outside_is_the_targets_choice(tmp_path: Path, model: Path) -> None:
    elsewhere = write(tmp_path / "other" / "lenient.toml", LENIENT)
    (model / "aiverify.toml").symlink_to(elsewhere)
    assert not load(model, model).twin_of_blocked
    with pytest.raises(UsageError):
        load(tmp_path, model, explicit=model / "aiverify.toml")
    assert load(tmp_path, model, explicit=elsewhere).twin_of_blocked


def test_a_link_outside_to_a_file_in_a_target_is_not_read(tmp_path: Path, model: Path) -> None:
    write(model / "rules.toml", LENIENT)
    (tmp_path / "aiverify.toml").symlink_to(model / "rules.toml")
    assert not load(tmp_path, model).twin_of_blocked
    with pytest.raises(UsageError):
        load(tmp_path, model, explicit=tmp_path / "aiverify.toml")


def test_a_link_that_only_passes_through_a_target_is_not_read(tmp_path: Path, model: Path) -> None:
    elsewhere = write(tmp_path / "other" / "lenient.toml", LENIENT)
    (model / "hop.toml").symlink_to(elsewhere)
    (tmp_path / "aiverify.toml").symlink_to(Path("model", "hop.toml"))
    assert not load(tmp_path, model).twin_of_blocked


def test_a_linked_folder_on_the_way_does_not_hide_that_a_file_is_in_a_target(tmp_path: Path, model: Path) -> None:
    write(model / "sub" / "rules.toml", LENIENT)
    write(tmp_path / "other" / "rules.toml", LENIENT)
    (tmp_path / "innocent").symlink_to(model / "sub")
    (model / "out").symlink_to(tmp_path / "other")
    for path in (tmp_path / "innocent" / "rules.toml", model / "out" / "rules.toml"):
        with pytest.raises(UsageError, match="inside a target"):
            load(tmp_path, model, explicit=path)


def test_a_target_that_is_named_through_a_link_is_the_same_target(tmp_path: Path, model: Path) -> None:
    write(model / "aiverify.toml", LENIENT)
    (tmp_path / "link").symlink_to(model)
    assert not load(model, tmp_path / "link").twin_of_blocked
    with pytest.raises(UsageError):
        load(tmp_path, tmp_path / "link", explicit=model / "aiverify.toml")
    with pytest.raises(UsageError):
        load(tmp_path, model, explicit=tmp_path / "link" / "aiverify.toml")


def test_a_link_to_a_target_file_brings_the_folder_that_it_leads_to(tmp_path: Path) -> None:
    target = write(tmp_path / "download" / "model.bin", "x")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "model.bin"
    link.symlink_to(target)
    for folder in (target.parent, link.parent):
        write(folder / "aiverify.toml", LENIENT)
        assert not load(folder, link).twin_of_blocked


def test_two_dots_behind_a_linked_folder_lead_where_the_system_says(tmp_path: Path, model: Path) -> None:
    (model / "sub").mkdir()
    (tmp_path / "link").symlink_to(model / "sub")
    write(model / "rules.toml", LENIENT)
    with pytest.raises(UsageError, match="inside a target"):
        load(tmp_path, model, explicit=tmp_path / "link" / ".." / "rules.toml")


def test_links_in_circles_are_no_policy(tmp_path: Path, model: Path) -> None:
    (tmp_path / "a.toml").symlink_to(tmp_path / "b.toml")
    (tmp_path / "b.toml").symlink_to(tmp_path / "a.toml")
    with pytest.raises(PolicyError, match="cannot be read"):
        load(tmp_path, model, explicit=tmp_path / "a.toml")


@pytest.mark.parametrize("spelling", ["model/rules.toml", "./model/../model/rules.toml", "model/sub/../rules.toml"])
def test_no_spelling_of_a_path_gets_a_policy_out_of_a_target(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    write(model / "rules.toml", LENIENT)
    (model / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="inside a target"):
        load(tmp_path, "model", explicit=Path(spelling))


# the Hub


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_a_file_in_the_hub_cache_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    below = {"HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub", "HOME": ".cache/huggingface/hub"}
    cache = tmp_path / "set" / below.get(variable, "")
    snapshot = cache / "models--org--name" / "snapshots" / ("0" * 40)
    path = write(snapshot / "aiverify.toml", LENIENT)
    monkeypatch.setenv("HOME", str(tmp_path / "set"))
    environment = {variable: str(tmp_path / "set")}
    policy = load_policy(["org/name"], environment=environment, working_directory=snapshot)
    assert not policy.twin_of_blocked
    with pytest.raises(UsageError):
        load_policy(["org/name"], explicit=path, environment=environment, working_directory=tmp_path)


@pytest.mark.parametrize("name", ["here", "here--now"])
@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "AIVERIFY_STORE"])
def test_no_variable_hides_a_policy_by_calling_its_folder_a_cache(tmp_path: Path, variable: str, name: str) -> None:
    here = write(tmp_path / name / "aiverify.toml", LENIENT).parent
    (here / "models--org--name").mkdir()
    for folder in (here, tmp_path):
        environment = {variable: str(folder)}
        assert load_policy(["org/name"], environment=environment, working_directory=here).twin_of_blocked


@pytest.mark.parametrize("variable", ["AIVERIFY_STORE", "XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize("kept", ["snapshots", "blobs"])
def test_a_file_of_a_model_that_was_sealed_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, kept: str
) -> None:
    below = {"XDG_CACHE_HOME": "aiverify", "HOME": ".cache/aiverify"}
    store = tmp_path / "set" / below.get(variable, "")
    path = write(store / kept / ("0" * 64) / "aiverify.toml", LENIENT)
    for name in ("XDG_CACHE_HOME", "AIVERIFY_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "set"))
    monkeypatch.setenv(variable, str(tmp_path / "set"))
    assert not load_policy(["org/name"], working_directory=path.parent).twin_of_blocked
    with pytest.raises(UsageError):
        named_policy(path, "org/name")
    # What else lies there is the user's.
    assert load_policy(["org/name"], explicit=write(store / "aiverify.toml", LENIENT)).twin_of_blocked


def test_a_file_in_a_folder_that_is_downloaded_into_is_not_read(tmp_path: Path) -> None:
    here = write(tmp_path / "here" / "aiverify.toml", LENIENT).parent
    assert load(here, "org/name", downloads=(None, None)).twin_of_blocked
    assert not load(here, "org/name", downloads=(None, here)).twin_of_blocked
    with pytest.raises(UsageError):
        load(tmp_path, "org/name", downloads=(here,), explicit=here / "aiverify.toml")


# the environment


def test_an_explicit_policy_counts_alone(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "aiverify.toml", STRICT)
    explicit = write(tmp_path / "rules" / "mine.toml", LENIENT)
    policy = load(tmp_path, model, explicit=explicit, AIVERIFY_POLICY="nowhere")
    assert names(policy) == [str(explicit)]
    assert policy.twin_of_blocked
    assert not policy.require_signature


def test_an_explicit_project_file_is_read_as_one(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path / "rules" / "pyproject.toml", "[project]\nname = 'x'\n" + PROJECT + LENIENT)
    assert load(tmp_path, model, explicit=path).twin_of_blocked


def test_the_environment_cannot_weaken(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path / "rules" / "mine.toml", LENIENT)
    with pytest.raises(PolicyError, match=r"mine\.toml:1: twin_of_blocked: weakens"):
        load(tmp_path, model, AIVERIFY_POLICY=str(path))


def test_the_environment_cannot_put_a_laxer_file_in_the_place_of_the_configuration(tmp_path: Path, model: Path) -> None:
    own = write(tmp_path / "aiverify.toml", STRICT + 'review_at = "low"\n')
    empty = write(tmp_path / "rules" / "empty.toml", "")
    policy = load(tmp_path, model, AIVERIFY_POLICY=str(empty))
    assert policy.digest == load(tmp_path, model).digest
    assert names(policy) == [str(own), str(empty)]


def test_the_environment_tightens_on_top_of_the_configuration(tmp_path: Path, model: Path) -> None:
    write(tmp_path / "aiverify.toml", LENIENT)
    strict = write(tmp_path / "rules" / "strict.toml", STRICT)
    policy = load(tmp_path, model, AIVERIFY_POLICY=str(strict))
    assert policy.twin_of_blocked
    assert policy.require_signature


def test_the_environment_cannot_name_a_file_inside_a_target(tmp_path: Path, model: Path) -> None:
    path = write(model / "rules.toml", STRICT)
    with pytest.raises(UsageError, match="inside a target"):
        load(tmp_path, model, AIVERIFY_POLICY=str(path))


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path, model: Path) -> None:
    for options in ({"explicit": tmp_path / "nowhere.toml"}, {"AIVERIFY_POLICY": str(tmp_path / "nowhere.toml")}):
        with pytest.raises(PolicyError, match="cannot be read"):
            load(tmp_path, model, **options)  # type: ignore[arg-type]  # options of both kinds


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes", "On", " 1 "])
def test_a_signature_can_be_required_from_the_environment(tmp_path: Path, model: Path, value: str) -> None:
    explicit = write(tmp_path / "rules" / "mine.toml", LENIENT)
    for chosen in (None, explicit):
        policy = load(tmp_path, model, explicit=chosen, AIVERIFY_REQUIRE_SIGNATURE=value)
        assert policy.require_signature
        assert names(policy)[-1] == "AIVERIFY_REQUIRE_SIGNATURE"


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_the_environment_cannot_take_the_requirement_back(tmp_path: Path, model: Path, value: str) -> None:
    assert not load(tmp_path, model, AIVERIFY_REQUIRE_SIGNATURE=value).require_signature
    write(tmp_path / "aiverify.toml", STRICT)
    assert load(tmp_path, model, AIVERIFY_REQUIRE_SIGNATURE=value).require_signature


@pytest.mark.parametrize("value", ["maybe", "2", "y", "ja"])
def test_a_requirement_that_cannot_be_understood_is_an_error_and_not_a_no(
    tmp_path: Path, model: Path, value: str
) -> None:
    with pytest.raises(UsageError, match="AIVERIFY_REQUIRE_SIGNATURE"):
        load(tmp_path, model, AIVERIFY_REQUIRE_SIGNATURE=value)


# odd surroundings


@pytest.mark.parametrize("target", ["", "x" * 5000, "nul\0", "org/name@main", "hf://org/name", "\udcff"])
def test_a_target_that_is_no_path_is_no_trouble(tmp_path: Path, target: str) -> None:
    write(tmp_path / "aiverify.toml", STRICT)
    assert load(tmp_path, target).require_signature


def test_a_working_directory_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="working directory"):
        load_policy(["org/name"], environment={})


def test_the_python_api_reads_no_policy_out_of_a_target_either(tmp_path: Path, model: Path) -> None:
    inside = write(model / "rules.toml", LENIENT)
    outside = write(tmp_path / "rules" / "rules.toml", LENIENT)
    assert named_policy(outside, str(model)).twin_of_blocked
    with pytest.raises(UsageError):
        named_policy(inside, str(model))
    with pytest.raises(PolicyError):
        named_policy(Path("nul\0.toml"), str(model))


def test_the_python_api_does_not_listen_to_our_environment(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIVERIFY_REQUIRE_SIGNATURE", "1")
    assert not named_policy(write(tmp_path / "rules.toml", LENIENT), str(model)).require_signature
