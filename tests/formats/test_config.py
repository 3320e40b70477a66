# ruff: noqa: E501 - the templates stand here as their models have them
"""Configuration as data: keys that select code are found at any depth, and what cannot be parsed is never clean."""

import json
import sys
import time
import tracemalloc

import pytest
import yaml
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st

from aiverify.formats import config
from aiverify.formats.config import examine_json, examine_template, examine_yaml
from aiverify.formats.examine import examine
from aiverify.formats.interface import ScanOptions


def look(value) -> list[tuple[str, str]]:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return [(item.rule, item.message) for item in examine_json(raw, "config.json").findings]


def rules(value) -> list[str]:
    return [rule for rule, _ in look(value)]


NOTHING = [
    {},
    [],
    1,
    "x",
    None,
    {"architectures": ["LlamaForCausalLM"]},
    {"auto_map": {}},
    {"auto_map": None},
    {"trust_remote_code": False},
]
CODE = [
    {"auto_map": {"AutoModel": "modeling.Model"}},
    {"auto_map": ["tokenization.Tokenizer", None]},
    {"custom_pipelines": {"x": {"impl": "a.B"}}},
    {"custom_pipeline": "org/repo"},
    {"trust_remote_code": True},
    {"_attn_implementation": "org/kernel"},
    {"attn_implementation": "org/kernel"},
    {"_attn_implementation_internal": "org/kernel:entry"},
]


@pytest.mark.parametrize("value", NOTHING)
def test_ordinary_configuration_is_silent(value):
    assert look(value) == []


@pytest.mark.parametrize("value", CODE)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: v,
        lambda v: {"text_config": v},
        lambda v: [v],
        lambda v: {"a": [{"b": {"c": [[v]]}}]},
        lambda v: {"": v},
    ],
)
def test_a_key_that_selects_code_is_found_at_any_depth(value, wrap):
    (found,) = look(wrap(value))
    assert found[0] == "AIV501"
    assert next(iter(value)) in found[1]


def test_ordinary_attention_implementations_are_silent():
    assert look({"_attn_implementation": "sdpa", "attn_implementation": None}) == []


def test_what_follows_a_finding_is_still_examined():
    assert rules({"auto_map": {"chat_template": "{{ x.__class__ }}"}, "trust_remote_code": True}) == [
        "AIV501",
        "AIV501",
        "AIV503",
    ]


EVIL = "{{ x.__class__ }}"


@pytest.mark.parametrize(
    "value",
    [
        {"chat_template": EVIL},
        {"chat_template": [{"name": "default", "template": EVIL}]},
        {"chat_template": {"default": EVIL}},
        {"chat_template": {"a": ["x", {"b": EVIL}]}},
        {"processor": {"chat_template": EVIL}},
        {"chat_templates": [EVIL]},
        {"prompt_template": EVIL},
    ],
)
def test_a_template_is_found_in_every_form_that_libraries_read(value):
    assert "AIV503" in rules(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 1, "a": 2}',
        b'{"x": [{"b": 1, "b": 1}]}',
        b'{"auto_map": {"a": "b"}, "auto_map": {}}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"\xff\xfe{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\x01"}',
        b"9" * 5000,
        b"// comment\n{}",
    ],
)
def test_what_is_not_one_strict_value_is_never_clean(raw):
    examination = examine_json(raw, "config.json")
    assert [item.rule for item in examination.findings] == ["AIV504"]
    assert len(examination.unexamined) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf{}",
        b'{"a": NaN, "b": Infinity}',
        b'{"a": 1e400}',
        b'{"a": "\\ud800"}',
        b" \n{}\n",
        b'{"a": 123456789012345678901234567890}',
    ],
)
def test_what_python_reads_without_doubt_is_read(raw):
    examination = examine_json(raw, "config.json")
    assert (examination.findings, examination.unexamined) == ([], [])


def test_json_over_the_limit_was_not_examined(monkeypatch):
    monkeypatch.setattr(config, "MAX_JSON", 10)
    assert examine_json(b" " * 11, "x").unexamined


@pytest.mark.parametrize("depth", [100, 400, 800, 900, 950, 990])
def test_no_depth_makes_the_examination_raise(depth):
    raw = b'{"auto_map":' + b"[" * depth + b"1" + b"]" * depth + b"}"
    assert [item.rule for item in examine_json(raw, "x").findings] in (["AIV501"], ["AIV504"])


def test_a_value_is_shown_as_far_as_a_message_goes():
    ((_, message),) = look({"auto_map": [["a", [{"b": 1}], *["c" * 1000] * 30]]})
    assert message.startswith('auto_map names code: [["a", ["..."], "ccc')
    assert len(message) < 400


def test_very_long_keys_cost_no_more_than_their_length():
    value = {"k" * 2_000_000: {f"a{number}": {"auto_map": 1} if number == 77 else [] for number in range(20_000)}}
    ((_, message),) = look(value)
    assert len(message) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["auto_map", "chat_template", "template", "trust_remote_code"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=15,
)


@effort(150)
@given(json_values)
def test_any_value_is_examined_and_code_is_never_missed(value):
    def selects(item) -> bool:
        if isinstance(item, dict):
            return bool(item.get("auto_map")) or bool(item.get("trust_remote_code")) or any(map(selects, item.values()))
        return isinstance(item, list) and any(map(selects, item))

    assert ("AIV501" in rules(value)) == selects(value)


@effort(150)
@given(st.binary(max_size=100))
def test_no_bytes_make_the_readers_raise(raw):
    for reader in (examine_json, examine_yaml, examine_template):
        reader(raw, "x")


# YAML


def yaml_rules(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    return [item.rule for item in examine_yaml(raw, "x.yaml").findings]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\n",
        "- a\n- {b: c}\n",
        "a: !custom 1\n",
        "a: &x 1\nb: *x\n",
        "a: !!str 1\n",
        "--- 1\n--- 2\n",
        "\ufeffa: 1\n",
        "a: '!!python/name:os.system'\n",
        "# !!python/object\n",
        "a: |\n  !!python/object:x\n",
    ],
)
def test_ordinary_yaml_is_silent(text):
    assert yaml_rules(text) == []


@pytest.mark.parametrize(
    "text", ["a: !!python/tuple [1]\n", "!!python/object/apply:collections.OrderedDict [[[a, 1]]]\n"]
)
def test_a_tag_of_python_that_makes_a_plain_value_is_a_remark(text):
    assert [(item.rule, item.severity.value) for item in examine_yaml(text.encode(), "c.yaml").findings] == [
        ("AIV501", "low")
    ]


CONSTRUCTING = [
    "!!python/object/apply:os.system [true]\n",
    "a: !!python/name:os.system ''\n",
    "- !!python/module:os ''\n",
    "!<tag:yaml.org,2002:python/object/apply:os.system> [true]\n",
    "%TAG ! tag:yaml.org,2002:python/\n---\n!object/apply:os.system [true]\n",
    "%TAG !x! tag:yaml.org,2002:pyth\n---\n!x!on/object/apply:os.system [true]\n",
    "a: !!pyth%6Fn/object/apply:os.system [true]\n",
    "{? !!python/object/apply:os.system [true] : 1}\n",
    "a: 1\n---\nb: !!python/object/new:os.system [true]\n",
]


@pytest.mark.parametrize("text", CONSTRUCTING)
def test_a_tag_that_constructs_is_found_however_it_is_written(text, monkeypatch):
    """Proof that it constructs: the loader that constructs asks for the constructor of a python tag."""
    asked = []

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: asked.append(suffix) or "x")
    list(yaml.load_all(text, Loader))
    assert asked
    assert "AIV501" in yaml_rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 'x",
        "\t- a",
        "a: b: c",
        "%TAG\n",
        "*unknown",
        b"\xff\xfe",
        "!!bad%zz x",
        "a" + "\0",
        "[" * 500_000,
        "- " * 3000 + "a",
    ],
)
def test_yaml_that_cannot_be_parsed_is_never_clean(text):
    raw = text.encode() if isinstance(text, str) else text
    examination = examine_yaml(raw, "x.yaml")
    if not examination.unexamined:
        assert text == "*unknown"  # an alias is resolved by the composer, which constructs nothing
        return
    assert "AIV504" in [item.rule for item in examination.findings]


def test_yaml_over_the_limit_was_not_examined(monkeypatch):
    monkeypatch.setattr(config, "MAX_YAML", 10)
    assert examine_yaml(b" " * 11, "x").unexamined


# Templates


def template_rules(text: str) -> list[str]:
    return [item.rule for item in examine_template(text.encode(), "chat_template.jinja").findings]


ORDINARY = [
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}",
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}{% endfor %}",
    '{%- if tools %}{{- \'<|im_start|>system\\n\' }}{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}{{- "\\n</tools>" }}{%- endif %}',
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}",
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{{ '<start_of_turn>' + (message['role'] if message['role'] != 'assistant' else 'model') + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}",
    "{% for message in messages %}{% if message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}",
    "{%- macro json_to_python_type(json_spec) %}{%- set basic_type_map = {'string': 'str', 'number': 'float', 'integer': 'int', 'boolean': 'bool'} %}{%- if basic_type_map[json_spec.type] is defined %}{{- basic_type_map[json_spec.type] }}{%- elif json_spec.type == 'array' %}{{- 'list[' + json_to_python_type(json_spec|items) + ']' }}{%- endif %}{%- endmacro %}",
    "{%- set today = strftime_now('%Y-%m-%d') %}{{- 'Today: ' + today }}{%- for m in messages %}{{- m.content }}{%- endfor %}",
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% endif %}\n{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set system_message = '<<SYS>>\\n' + messages[0]['content'] | trim + '\\n<</SYS>>\\n\\n' %}{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}{{ system_message }}",
    "{%- set image_count = namespace(value=0) %}{%- for content in message.content %}{%- if content.type == 'image' or 'image' in content %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}{%- endif %}{%- endfor %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('\\n') }}",
    "",
    "plain text",
]
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x['__class__'] }}",
    "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ x['\\u005f_class_\\u005f'] }}",
    "{{ x['\\137\\137class\\137\\137'] }}",
    "{{ x['\\U0000005f_class__'] }}",
    "{{ x | attr('format') }}",
    "{{ x|attr(['_'*2,'class','_'*2]|join) }}",
    "{{ cycler.next }}",
    "{{ lipsum['globals'] }}",
    "{{ joiner . x }}",
    "{{ getattr(x, 'y') }}",
    "{{ x['__cla' ~ 'ss__'] }}",
    "{{ x['__cla' + 'ss__'] }}",
    "{{ ['__cla','ss__'] | join }}",
    "{{ f.gi_frame.f_globals }}",
    "{{ x.func_globals }}",
    "{% include '/etc/passwd' %}",
    "{%- import 'a' as b %}",
    "{% from 'a' import b %}",
    "{% extends 'a' %}",
    "{{ self.__init__.__globals__.__builtins__ }}",
    "{{ x.__reduce_ex__(2) }}",
    "a" * (4 << 20) + "a",
]


@pytest.mark.parametrize("text", ORDINARY, ids=lambda text: text[:30])
def test_an_ordinary_template_is_silent(text):
    assert template_rules(text) == []
    assert rules({"chat_template": text}) == []


@pytest.mark.parametrize("text", ESCAPES, ids=lambda text: text[:30])
def test_a_template_that_leaves_its_sandbox_is_found(text):
    assert template_rules(text) == ["AIV503"]
    assert "AIV503" in rules({"tokenizer": {"chat_template": text}})


def test_a_template_that_is_no_text_was_not_examined():
    assert examine_template(b"\xff\xfe{{ }}", "x").unexamined


def test_a_code_point_that_does_not_exist_stays_as_it_is():
    assert template_rules("\\UFFFFFFFF {{ x.__class__ }}") == ["AIV503"]


@pytest.mark.parametrize(
    "text",
    [
        "__" * 40 + "'" + "\n" * 260_000,
        "'__" * 87_000,
        "|" + " " * 260_000,
        "{%" + " " * 260_000,
        "_" * 260_000,
        ("_" * 40 + '"' + " " * 80) * 2_160,
        "{{ a" + "|b" * 130_000 + " }}",
        "{{ a" + "['b'+'c']" * 29_000 + " }}",
    ],
)
def test_a_template_cannot_stall_the_search(text):
    # Processor time, so that a busy machine decides nothing: some seconds, where a stall takes hours.
    start = time.process_time()
    template_rules(text)
    assert time.process_time() - start < 120


def test_a_long_template_is_no_way_past_the_grammar():
    assert template_rules("{{ x['_' * 2 ~ y] }}" + "{# padding #}" * 90_000) == ["AIV503"]


def test_a_template_costs_once_what_it_costs_and_many_end():
    shared = "t: &t " + json.dumps("{{ a" + "|b" * 10_000 + " }}") + "\n"
    aliases = "".join(f"a{number}:\n  chat_template: *t\n" for number in range(5_000))
    assert examine_yaml((shared + aliases).encode(), "c.yaml").findings == []
    many = {"chat_template": [{"name": str(number), "template": f"{number}" * 40_000} for number in range(60)]}
    examination = examine_json(json.dumps(many).encode(), "tokenizer_config.json")
    assert [item.rule for item in examination.findings] == ["AIV503"]
    assert examination.unexamined


def test_the_recursion_limit_is_left_alone():
    assert sys.getrecursionlimit() <= 5000


@pytest.mark.parametrize(
    ("name", "limit"), [("config.json", "MAX_JSON"), ("config.yaml", "MAX_YAML"), ("t.jinja", "MAX_TEMPLATE_BYTES")]
)
def test_of_a_file_beyond_its_limit_no_more_is_read(tmp_path, monkeypatch, name: str, limit: str) -> None:
    monkeypatch.setattr(config, limit, 1000)
    path = tmp_path / name
    path.write_bytes(b'{"a": 1}' if name.endswith("json") else b"a: 1\n")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        found = examine(path, name, ScanOptions())
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert found.unexamined or found.findings
