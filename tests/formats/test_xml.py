"""XML files: OpenVINO graphs and PMML that compute, and ones that make a reader fetch or multiply."""

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.formats.beside import Folder
from aiverify.formats.xml import examine_xml

GRAPH = """<?xml version="1.0"?>
<net name="Model0" version="11">
  <layers>
    <layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,4" element_type="f32"/></layer>
    <layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" offset="0" size="64"/></layer>
    <layer id="2" name="y" type="ScaledDotProductAttention" version="opset13"/>
  </layers>
</net>
"""
PMML = '<?xml version="1.0" encoding="UTF-8"?><PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/></PMML>'


def rules(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    return [found.rule for found in examine_xml(raw, "model.xml").findings]


@pytest.mark.parametrize("text", [GRAPH, PMML, "\ufeff" + PMML], ids=["openvino", "pmml", "marked"])
def test_what_computes_is_clean(text: str) -> None:
    examination = examine_xml(text.encode(), "model.xml")
    assert (examination.findings, examination.unexamined) == ([], [])


@pytest.mark.parametrize(
    ("inserted", "rule"),
    [
        ('<!DOCTYPE net SYSTEM "http://host/x.dtd">', "AIV415"),
        ('<!DOCTYPE net PUBLIC "-//x" "http://host/x.dtd">', "AIV415"),
        ('<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>', "AIV404"),
        ('<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>', "AIV415"),
        ('<?xml-stylesheet href="http://host/x.xsl"?>', "AIV415"),
        ('<layer id="9" name="q" type="Acme" version="extension"/>', "AIV413"),
        ('<layer name=">" type="Acme" version="extension"/>', "AIV413"),
        ("<layer version='extension' type='Acme' name=\" version='opset1'\"/>", "AIV413"),
        (f'<layer type="Acme" {" " * 3000} version="extension"/>', "AIV413"),
        (f'<!DOCTYPE net {" " * 3000} SYSTEM "http://host/x.dtd">', "AIV415"),
        (f'<xi:include {" " * 3000} href="file:///etc/passwd"/>', "AIV415"),
        ('<x-i:include parse=">" href="file:///etc/passwd"/>', "AIV415"),
    ],
)
def test_what_makes_a_reader_do_more_is_said(inserted: str, rule: str) -> None:
    hostile = GRAPH.replace("<net", inserted + "<net", 1)
    assert set(rules(hostile)) == {rule}
    assert set(rules(hostile.encode("utf-16"))) == {rule}


def test_an_entity_that_reads_a_file_is_said_to_do_so() -> None:
    assert "AIV415" in rules('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>')


@pytest.mark.parametrize(
    "raw",
    [
        b'<?xml version="1.0" encoding="UTF-7"?><x/>',
        b'<?xml version="1.0" encoding="cp037"?><x/>',
        b'<?xml version="1.0" encoding="nonsense"?><x/>',
        b"<x>\xff</x>",
        "<x/>".encode("utf-16-le"),
    ],
)
def test_an_encoding_that_could_hide_something_is_refused(raw: bytes) -> None:
    assert examine_xml(raw, "model.xml").unexamined


def test_constants_are_found_whatever_stands_beside_them(tmp_path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(64))
    for hidden in (
        'name=">" offset="8" size="64"',
        f'{" " * 5000} offset="8" size="64"',
        'x="offset=\'0\'" size="64" offset="8"',
    ):
        text = GRAPH.replace('offset="0" size="64"', hidden)
        found = examine_xml(text.encode(), "model.xml", "net", Folder(tmp_path / "model.xml")).findings
        assert [item.rule for item in found] == ["AIV407"]


def test_an_element_that_does_not_end_is_unexamined() -> None:
    assert examine_xml(GRAPH.replace('version="opset13"/>', "version='opset13").encode(), "model.xml").unexamined


@effort(100)
@given(st.text(max_size=200))
def test_any_text_gets_an_answer(text: str) -> None:
    assert set(rules(text.encode("utf-8", "replace"))) <= {"AIV404", "AIV413", "AIV415"}
