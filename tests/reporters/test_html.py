"""HTML: a page that says what matters, may do nothing, and in which nothing of the artifact acts."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from xml.etree.ElementTree import Element

import html5lib
import pytest
from fuzzing import effort
from hostile_report import HOSTILE, full_of
from hypothesis import given
from report_builder import blocked, every_kind, file, names, of_layers, report, reports, texts, to_review

from aiverify.finding import Unexamined
from aiverify.report import Conversion, Dropped, FileState, Outcome, Report, SignatureResult, Variant
from aiverify.reporters.hostile import printable
from aiverify.reporters.html import HtmlReporter
from aiverify.reporters.html.elements import MAX_LISTED
from aiverify.reporters.html.findings import MAX_FINDINGS
from aiverify.reporters.interface import ReporterError
from aiverify.reporters.json import JsonReporter
from aiverify.reporters.reading import load_all
from aiverify.rules import finding

EVERY = (*every_kind(), of_layers())
HTML, SVG = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
ELEMENTS = frozenset(
    re.findall(
        r"\S+",
        "html head meta title style body a main header footer nav section article h1 h2 h3 h4 p ul ol li dl div dt dd "
        "table caption thead tbody tr th td form label select option details summary pre code bdi span strong small "
        "script svg g rect text ",
    )
)
ATTRIBUTES = frozenset(
    re.findall(
        r"\S+",
        "lang charset content name http-equiv class id href rel role hidden open scope for value aria-label "
        "aria-hidden aria-labelledby data-severity data-rule data-file data-filter viewBox x y width height ",
    )
)


def page(*found: Report) -> Element:
    """The page as a browser reads it; a browser would have to mend nothing of it."""
    return html5lib.HTMLParser(strict=True).parse(HtmlReporter().render(found))


def local(node: Element) -> str:
    return node.tag.removeprefix(HTML).removeprefix(SVG)


def every(root: Element, tag: str) -> list[Element]:
    return [node for node in root.iter() if local(node) == tag]


def words(node: Element) -> str:
    return "".join(node.itertext())


def classed(root: Element, name: str) -> list[Element]:
    return [node for node in root.iter() if name in (node.get("class") or "").split()]


def section(root: Element, name: str) -> Element:
    (found,) = (node for node in root.iter() if node.get("id") == name)
    return found


# --- safe


def check_harmless(root: Element) -> None:
    """Nothing is in the page but elements and attributes of ours."""
    for node in root.iter():
        assert local(node) in ELEMENTS
        assert set(node.attrib) <= ATTRIBUTES
        assert re.match(r"#|https://aiverify-weights\.readthedocs\.io/rules/AIV\d{3}/$|$", node.get("href", ""))
    assert len(every(root, "script")) == len(every(root, "style")) == 1


@effort(40)
@given(reports)
def test_nothing_in_a_report_becomes_markup(one: Report) -> None:
    check_harmless(page(one))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(text: str) -> None:
    root = page(full_of(text))
    check_harmless(root)
    for name in ("findings", "calls", "variants", "files", "signatures", "conversions", "tensors", "unexamined"):
        assert printable(text) in words(section(root, name)), name


def test_hostile_text_makes_no_element_that_harmless_text_does_not() -> None:
    def shape(text: str) -> list[tuple[str, list[str]]]:
        return [(local(node), sorted(node.attrib)) for node in page(full_of(text)).iter()]

    assert shape("&name;") == shape("<name>") == shape("'name\"") == shape("a name")


@effort(40)
@given(texts)
def test_a_message_is_read_as_it_is_shown_everywhere(text: str) -> None:
    root = page(report(findings=(finding("AIV301", text),)))
    (item,) = classed(root, "finding")
    assert printable(text, limit=4000) in words(item)


@effort(25)
@given(names)
def test_nothing_in_the_page_is_invisible(text: str) -> None:
    made = HtmlReporter().render([full_of(text)])
    assert all(character.isprintable() or character == "\n" for character in made)
    made.encode("utf-8")


# --- its own policy


def policy(root: Element) -> str:
    (found,) = (node.get("content") for node in every(root, "meta") if node.get("http-equiv"))
    assert found is not None
    return found


def test_only_the_style_and_the_script_of_the_page_may_act() -> None:
    root = page(blocked())
    for tag in ("style", "script"):
        (node,) = every(root, tag)
        digest = base64.b64encode(hashlib.sha256(words(node).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy(root)


def test_the_policy_forbids_everything_else() -> None:
    directives = dict(part.strip().split(" ", 1) for part in policy(page(report())).split(";"))
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert set(directives) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    assert "unsafe" not in policy(page(report()))


def test_the_policy_stands_before_everything_that_it_is_about() -> None:
    tags = [local(node) for node in page(report()).iter()]
    made = HtmlReporter().render([report()])
    assert tags.index("meta") < tags.index("style")
    assert made.index("Content-Security-Policy") < made.index("<title>")


# --- what it says


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.target)
def test_the_verdict_comes_first(one: Report) -> None:
    root = page(one)
    (first,) = every(root, "h1")
    assert one.verdict.outcome.value.upper() in words(first)
    assert one.verdict.outcome.value.upper() in words(every(root, "title")[0])
    shown = words(every(root, "main")[0])
    assert shown.startswith(words(first))
    for reason in one.verdict.reasons:
        assert printable(reason) in shown


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.target)
def test_every_fact_of_a_report_is_there(one: Report) -> None:
    shown = words(page(one))
    facts = [file.path for file in one.artifact.files] + [file.sha256 for file in one.artifact.files]
    facts += [item.message for item in one.findings] + [item.rule for item in one.findings]
    facts += [item.file for item in one.unexamined] + [item.reason for item in one.unexamined]
    facts += [part for item in one.conversions for part in (item.source, item.output, item.receipt, item.sha256)]
    facts += [dropped.path for item in one.conversions for dropped in item.dropped]
    facts += [item.signer for item in one.signatures] + [item.name for item in one.variants]
    facts += [source.digest for source in one.policy.sources] + [one.policy.digest, one.tool, one.started_at]
    for fact in filter(None, facts):
        assert printable(fact) in shown


def test_the_gravest_finding_is_the_first() -> None:
    found = [int(item.get("data-severity", "")) for item in classed(page(blocked()), "finding")]
    assert found == sorted(found, reverse=True)


def test_without_a_script_all_findings_are_shown_and_nothing_asks_to_filter_them() -> None:
    root = page(blocked())
    (form,) = every(root, "form")
    assert "hidden" in form.attrib
    assert not any("hidden" in item.attrib for item in classed(root, "finding"))


def test_filters_name_everything_that_findings_have() -> None:
    root = page(blocked())
    for name in ("severity", "rule", "file"):
        (control,) = (node for node in every(root, "select") if node.get("data-filter") == name)
        offered = {option.get("value") for option in every(control, "option")} - {""}
        there = {item.get(f"data-{name}") for item in classed(root, "finding")}
        # That there is a finding of the least severity says "all".
        assert offered == there - ({min(there)} if name == "severity" else set())


def test_calls_stand_under_the_calls_that_use_them() -> None:
    payload = "torch.compile(builtins.eval('1 + 1'))"
    item = finding("AIV301", "bad", file="m.bin", evidence={"global": "torch.compile", "payload": payload})
    tree = section(page(report(findings=(item,))), "calls")
    outer = next(node for node in every(tree, "li") if words(node).startswith("torch.compile()"))
    assert any(words(node).startswith("builtins.eval()with '1 + 1'") for node in every(outer, "li"))


def test_a_name_that_two_findings_are_about_is_called_once() -> None:
    item = finding("AIV301", "bad", file="m.bin", evidence={"global": "os.system", "payload": "os.system('x')"})
    other = finding("AIV303", "odd", file="m.bin", evidence={"global": "os.system", "payload": "os.system('x')"})
    assert words(section(page(report(findings=(item, other))), "calls")).count("os.system()") == 1


def test_the_map_shows_every_layer_that_is_not_tiny_and_adds_up_the_types() -> None:
    root = page(of_layers())
    (wide,) = classed(root, "wide")
    assert len(every(wide, "rect")) == 66
    text = words(section(root, "tensors"))
    assert "354 tensors" in text
    for layer in of_layers().layers[:3]:
        assert layer.name in text
        assert layer.dtype in text
    assert "54.1 %" in text


def test_a_report_without_layers_has_no_map() -> None:
    assert not any(node.get("id") == "tensors" for node in page(report()).iter())


def test_a_great_many_findings_are_cut_and_the_page_says_so() -> None:
    many = tuple(finding("AIV302", f"number {number}") for number in range(MAX_FINDINGS + 5))
    root = page(report(findings=many))
    assert len(classed(root, "finding")) == MAX_FINDINGS
    assert "5 findings of no greater weight not shown here" in words(root)


def test_every_list_that_is_cut_says_so() -> None:
    paths = tuple(f"file{number}" for number in range(MAX_LISTED + 3))
    signature = SignatureResult(
        kind="key",
        outcome="failed",
        detail="",
        covers=paths,
        files=tuple((path, FileState.MISMATCHING) for path in paths),
    )
    conversion = Conversion(source="a.bin", tensors=1, dropped=tuple(Dropped(path=path, type="int") for path in paths))
    found = report(
        artifact=replace(report().artifact, files=tuple(file(path) for path in paths)),
        signatures=(signature,),
        conversions=(conversion,),
        variants=(Variant(name="safetensors", files=paths, outcome=Outcome.PASS),),
        unexamined=tuple(Unexamined(file=path, reason="broken") for path in paths),
    )
    text = " ".join(words(page(found)).split())
    assert text.count("and 3 more in the JSON report") == 6
    assert f"file{MAX_LISTED - 1}" in text
    assert f"file{MAX_LISTED}" not in text


# --- for everybody


@pytest.mark.parametrize("found", [(one,) for one in EVERY] + [EVERY], ids=len)
def test_headings_go_down_one_level_at_a_time(found: tuple[Report, ...]) -> None:
    levels = [int(local(node)[1]) for node in page(*found).iter() if re.fullmatch("h[1-6]", local(node))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


@pytest.mark.parametrize("found", [(one,) for one in EVERY] + [EVERY], ids=len)
def test_every_reference_inside_the_page_leads_to_one_place(found: tuple[Report, ...]) -> None:
    root = page(*found)
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(set(ids)) == len(ids)
    for node in root.iter():
        wanted = [node.get("for"), *(node.get("aria-labelledby") or "").split()]
        wanted += [node.get("href", "").removeprefix("#")] if node.get("href", "").startswith("#") else []
        assert {one for one in wanted if one} <= set(ids)


def test_several_targets_begin_with_a_table_of_verdicts() -> None:
    root = page(*EVERY)
    assert len(every(root, "article")) == len(EVERY)
    assert "BLOCK 5 targets" in words(every(root, "h1")[0])


# --- saved reports


@pytest.mark.parametrize("found", [EVERY, (to_review(),)], ids=len)
def test_a_saved_report_gives_the_same_page(found: tuple[Report, ...]) -> None:
    saved = JsonReporter().render(found)
    assert HtmlReporter().render(load_all(saved)) == HtmlReporter().render(found)


def test_no_report_is_refused() -> None:
    with pytest.raises(ReporterError):
        HtmlReporter().render([])
