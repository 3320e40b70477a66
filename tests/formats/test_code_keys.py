"""Keys that make loaders run or fetch something, and templates by Jinja's grammar; ordinary files are silent."""

from __future__ import annotations

import json
import sys

import jinja2
import pytest
import yaml
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, GenerationConfig
from transformers.utils.chat_template_utils import _compile_jinja_template

from aiverify.formats.code_keys import judge_keys
from aiverify.formats.config import examine_json, examine_yaml
from aiverify.formats.template import suspicious
from aiverify.formats.template_grammar import escapes
from aiverify.formats.yaml_events import read_yaml

ARCHITECTURES = (
    *(
        "albert",
        "bart",
        "bert",
        "bloom",
        "clip",
        "deepseek_v3",
        "falcon",
        "gemma2",
        "gpt2",
        "llama",
        "mamba",
        "mistral",
    ),
    *("mixtral", "opt", "phi3", "qwen2", "qwen2_vl", "roberta", "t5", "vit", "wav2vec2", "whisper"),
)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_transformers_writes_for_its_architectures_is_silent(kind: str) -> None:
    raw = AutoConfig.for_model(kind).to_json_string(use_diff=False).encode()
    assert examine_json(raw, "config.json").findings == []
    assert examine_yaml(yaml.safe_dump(json.loads(raw)).encode(), "config.yaml").findings == []


def test_other_files_that_libraries_write_are_silent() -> None:
    assert examine_json(GenerationConfig().to_json_string().encode(), "generation_config.json").findings == []
    for name, value in {
        "model_index.json": {"_class_name": "FluxPipeline", "unet": ["diffusers", "UNet2D"], "tokenizer": [None, None]},
        "tokenizer_config.json": {"tokenizer_class": "X", "name_or_path": "/root/x", "special_tokens_map_file": "/a/b"},
        "a/model_index.json": {"text_encoder": ["transformers", "CLIP"], "safety": ["stable_diffusion", "Checker"]},
        "modular_model_index.json": {"vae": ["diffusers", "AutoencoderKL", {"subfolder": "vae"}]},
        "adapter_config.json": {
            "auto_mapping": {"base_model_class": "LlamaModel", "parent_library": "transformers.models.llama"},
            "megatron_core": "megatron.core",
        },
        "router_config.json": {
            "types": {"a": "sentence_transformers.models.Transformer"},
            "structure": {"query": ["a"]},
        },
        "2_Dense/config.json": {"activation_function": "torch.nn.modules.activation.Tanh"},
        "gpt2.json": {
            "activation_function": "gelu_new",
            "target": "text.column",
            "download": "https://x.example/a.zip",
        },
        "modules.json": [
            {"idx": number, "path": path, "type": "sentence_transformers.models.Transformer"}
            for number, path in enumerate(("", "1_Pooling", "./2_Dense", "a/b", "."))
        ],
        "notebook.json": {
            "language_info": {"file_extension": ".py", "name": "python"},
            "content": "## a .py file.py b",
        },
        "io.json": [
            {"type": "pyref", "module": module, "name": name}
            for module, name in (
                *(("builtins", "tuple"), ("fiddle._src.config", "Config"), ("torch", "bfloat16"), ("pathlib", "Path")),
                *(
                    ("nemo.collections.llm.gpt.model.llama", "LlamaModel"),
                    ("megatron.core.optimizer", "OptimizerConfig"),
                ),
            )
        ],
        "config.yaml": {"pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": {"a": "B"}}},
        "names.json": {
            "a": "code.json",
            "b": "time.time",
            "c": "socket.io",
            "d": "os.path.txt",
            "class": "os.system"[3:],
        },
        "preprocessor_config.json": {"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": {"x": 1}},
        "config.json": {"_attn_implementation": "flash_attention_2", "experts_implementation": "grouped_mm"},
        "hydra.json": {"model": {"_target_": "nemo.collections.asr.models.EncDecCTCModel"}},
    }.items():
        assert judge_keys(value, name) == [], name


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("c.json", {"a": [{"_target_": "os.system"}]}, ("AIV501", "high")),
        ("c.json", {"_target_": "posix.system"}, ("AIV501", "high")),
        ("c.json", {"_target_": "mine.models.Net"}, ("AIV501", "medium")),
        ("c.json", {"attn_implementation": {"text_config": "org/kernel@v1"}}, ("AIV501", "high")),
        ("c.json", {"experts_implementation": "org/kernel:moe"}, ("AIV501", "high")),
        ("c.json", {"kernel_config": {"RMSNorm": "org/norm:LlamaRMSNorm"}}, ("AIV501", "high")),
        ("model_index.json", {"unet": ["my_unet", "Net"]}, ("AIV501", "medium")),
        ("modules.json", [{"type": "custom_st.Transformer"}], ("AIV501", "medium")),
        ("modules.json", [{"type": "org/other--code.Transformer"}], ("AIV501", "medium")),
        ("modules.json", [{"type": "k\u043ed.Transformer"}], ("AIV501", "medium")),
        ("router_config.json", {"types": {"a": "custom.Net"}, "structure": {}}, ("AIV501", "medium")),
        ("config.json", {"types": {"a": "custom.Net"}, "structure": {}}, ("AIV501", "medium")),
        ("modular_model_index.json", {"unet": ["my_unet", "Net", {"repo": None}]}, ("AIV501", "medium")),
        ("Model_Index.json", {"unet": ["my_unet", "Net"]}, ("AIV501", "medium")),
        *(("model_index.json", {"unet": [name, "Net"]}, ("AIV501", "medium")) for name in "aeot"),
        ("c.json", {"_target_": "s.run"}, ("AIV501", "medium")),
        ("c.json", {"_target_": "torch.os.system"}, ("AIV501", "high")),
        ("c.json", {"_target_": "torch.serialization.os.system"}, ("AIV501", "high")),
        ("c.json", {"_target_": "torch.distributed.run.main"}, ("AIV501", "medium")),
        *(
            ("c.yaml", {"_target_": name}, ("AIV501", "medium"))
            for name in (
                *("torch.${name}", "${name}.system", "torch.nn.Linear ${name}", "torch.multiprocessing.spawn"),
                *("speechbrain.inference.interfaces.foreign_class", "mlflow.sklearn.load_model", "mlflow.run"),
                *("transformers.utils.import_utils.direct_transformers_import", "monai.utils.module.instantiate"),
            )
        ),
        ("c.json", {"_component_": "mine.build"}, ("AIV501", "medium")),
        ("v1.yaml", {"model": {"target": "os.system", "params": {"command": "id"}}}, ("AIV501", "high")),
        ("v1.yaml", {"model": {"target": "os.system"}}, ("AIV501", "high")),
        ("v1.yaml", {"model": {"target": "mine.models.Net"}}, ("AIV501", "medium")),
        ("v1.yaml", {"model": {"target": "mine.net", "params": {}}}, ("AIV501", "medium")),
        ("v1.yaml", {"model": {"target": "torch.${name}"}}, ("AIV501", "medium")),
        ("v1.yaml", {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": {}}, ("AIV501", "low")),
        ("config.yaml", {"model": {"class_path": "subprocess.Popen", "init_args": {"args": "id"}}}, ("AIV501", "high")),
        ("config.yaml", {"model": {"class_path": "mine.Net"}}, ("AIV501", "medium")),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "mine"}}, ("AIV501", "medium")),
        ("adapter_config.json", {"megatron_core": "mine"}, ("AIV501", "medium")),
        ("MLmodel", {"flavors": {"python_function": {"loader_module": "mine"}}}, ("AIV501", "medium")),
        ("MLmodel", {"python_function": {"loader_module": "mlflow.sklearn", "code": "code"}}, ("AIV501", "medium")),
        ("MLmodel", {"python_function": {"model_code_path": "agent.py"}}, ("AIV501", "medium")),
        ("config.json", {"model_file": "arch.py"}, ("AIV501", "medium")),
        ("config.json", {"entry": "src/run.py"}, ("AIV501", "low")),
        ("cog.yaml", {"predict": "predict.py:Predictor"}, ("AIV501", "low")),
        ("io.json", [{"type": "pyref", "module": "subprocess", "name": "getoutput"}], ("AIV501", "high")),
        ("io.json", {"a": {"type": "pyref", "module": "builtins", "name": "eval"}}, ("AIV501", "high")),
        ("io.json", {"a": {"type": "pyref", "module": "mine", "name": "Net"}}, ("AIV501", "medium")),
        ("config.yaml", {"pipeline": {"name": "subprocess.Popen", "params": {"args": "id"}}}, ("AIV501", "high")),
        ("config.yaml", {"pipeline": {"name": "mine.Pipeline"}}, ("AIV501", "medium")),
        ("config.yaml", {"preprocessors": {"audio": {"name": "mine.Prepare"}}}, ("AIV501", "medium")),
        ("config.yml", {"pipeline": [{"name": "mine.Part"}]}, ("AIV501", "medium")),
        ("p.json", {"__kind__": "instance", "class": "os.system", "args": ["id"]}, ("AIV501", "high")),
        ("p.json", {"__kind__": "type", "class": "mine.Net"}, ("AIV501", "medium")),
        ("m.json", {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["id"]}]}, ("AIV501", "high")),
        ("m.json", {"py/object": "mine.Net"}, ("AIV501", "medium")),
        ("logging.json", {"formatters": {"a": {"()": "os.system"}}}, ("AIV501", "medium")),
        ("c.json", {"activation_fn": "torch.utils.data.get_worker_info"}, ("AIV501", "medium")),
        ("modular_model_index.json", {"a": [None, None, {"type_hint": ["mine", "Net"]}]}, ("AIV501", "medium")),
        ("modular_model_index.json", {"a": ["diffusers", "B", {"type_hint": ["mine", "Net"]}]}, ("AIV501", "medium")),
        ("model_index.json", {"unet": ["torch.x", "Net"]}, ("AIV501", "low")),
        ("model_index.json", {"unet": ["null", "Net"]}, ("AIV501", "low")),
        *(
            ("modules.json", [{"path": place, "type": "sentence_transformers.models.Dense"}], ("AIV409", "high"))
            for place in (".git/m", ".cache/huggingface/m", "../other", "/tmp/m", "a/../../b/.c", "C:/m", "..\\m")
        ),
        (
            "router_config.json",
            {"types": {"../.git/m": "sentence_transformers.models.Dense"}, "structure": {}},
            ("AIV409", "high"),
        ),
        ("config.json", {"sentence_transformers": {"activation_fn": "mine.Tanh"}}, ("AIV501", "medium")),
        ("genai_config.json", {"session_options": {"custom_ops_library": "x.so"}}, ("AIV501", "high")),
        ("mm.json", {"custom_imports": {"imports": ["mine"]}}, ("AIV501", "medium")),
        ("data.yaml", {"download": "import os\nos.system('id')"}, ("AIV501", "high")),
        ("config.yaml", {"common": {"user_dir": "code"}}, ("AIV501", "medium")),
        ("data.yaml", {"download": "bash get.sh"}, ("AIV501", "high")),
        ("c.json", {"attn_implementation": " org/kernel @v1 : f"}, ("AIV501", "high")),
        ("c.json", {"attn_implementation": "flash|_org/kernel"}, ("AIV501", "high")),
        ("c.json", {"attn_implementation": f"{'a' * 500}|org/kernel"}, ("AIV501", "high")),
        ("c.json", {"attn_implementation": "paged|x|org/kernel"}, ("AIV501", "high")),
        ("c.json", {"audio_tokenizer_name_or_path": "org/other"}, ("AIV510", "info")),
        ("c.json", {"vocab_file": "../../etc/passwd"}, ("AIV510", "medium")),
        ("c.json", {"vocab_file": "https://x.example/v.txt"}, ("AIV510", "low")),
        ("c.json", {"merges_file": "/home/x/merges.txt"}, ("AIV510", "info")),
        ("adapter_config.json", {"base_model_name_or_path": "org/base"}, ("AIV510", "info")),
    ],
)
def test_keys_that_select_code_or_places_are_found(name: str, value: object, said: tuple[str, str]) -> None:
    assert [(item.rule, item.severity.value) for item in judge_keys(value, name)] == [said]


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  auto_map: {AutoModel: x.Y}\n",
        "- trust_remote_code: yes\n",
        "x: &a {auto_map: {AutoModel: x.Y}}\ny: *a\n",
        "b: 1\nb: {auto_map: {AutoModel: x.Y}}\n",
        "? [{auto_map: {A: x.Y}}]\n: 1\n",
        "--- 1\n--- {_target_: os.system}\n",
    ],
)
def test_yaml_is_searched_like_json_and_each_value_once(text: str) -> None:
    assert [item.rule for item in examine_yaml(text.encode(), "c.yaml").findings] == ["AIV501"]


@pytest.mark.parametrize(
    "text", ["trust_remote_code: false\n", "trust_remote_code: no\n", "auto_map: ~\n", "auto_map:\n"]
)
def test_yaml_that_says_no_is_silent(text: str) -> None:
    assert examine_yaml(text.encode(), "c.yaml").findings == []


def test_aliases_cost_nothing() -> None:
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(60))
    cycle = "a: &a\n  b: *a\n  chat_template: *a\n"
    assert examine_yaml((bomb + cycle).encode(), "c.yaml").findings == []


def test_keys_that_share_their_values_cost_each_value_once() -> None:
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(60))
    found = examine_yaml(f"{bomb}auto_map: *a59\n".encode(), "c.yaml").findings
    assert [(item.rule, item.evidence["code"]) for item in found] == [("AIV501", ["x"])]
    many = [f"n{number}" for number in range(5_000)]
    keys = ("auto_map", "attn_implementation", "data_files")
    shared = [{"b": many, key: many} for _ in range(5_000) for key in keys]
    assert {item.rule for item in judge_keys(shared, "c.yaml")} == {"AIV501"}


KEYS = st.sampled_from(
    [
        *("target", "params", "class_path", "parent_library", "loader_module", "code", "activation_fn", "download"),
        *("auto_map", "custom_pipeline", "trust_remote_code", "_target_", "attn_implementation", "type", "vocab_file"),
    ]
)
VALUES = st.sampled_from(
    [*("a.B", "org/kernel", "torch.nn.Linear", "os.system", "https://x/y", "../z", "no", ""), True, None, 1]
)
TREES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@effort(200)
@given(TREES, st.sampled_from(["config.json", "model_index.json", "modules.json"]))
def test_any_tree_is_judged_and_a_place_deeper_hides_nothing(tree: object, name: str) -> None:
    def said(value: object, path: str) -> list[tuple[str, str]]:
        found = judge_keys(value, path)
        assert json.dumps([dict(item.evidence) for item in found])
        return sorted((item.rule, item.severity.value) for item in found)

    here = said(tree, "config.json")
    assert said({"text_config": tree}, "config.json") == said([[tree]], "config.json") == here
    assert len(said(tree, name)) >= len(here)
    for key in ("auto_map", "custom_pipeline"):
        assert (("AIV501", "medium") in said({key: tree}, "config.json")) >= (isinstance(tree, str) and len(tree) > 2)


@effort(150)
@given(st.text(alphabet="ab:-{}[]&*!? \n#,'\"|>%", max_size=80) | st.text(max_size=80))
def test_any_text_is_yaml_or_an_error(text: str) -> None:
    try:
        read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        assert examine_yaml(text.encode("utf-8", "surrogatepass"), "c.yaml").unexamined
    else:
        list(yaml.parse(text, Loader=yaml.SafeLoader))  # what is read here, the library reads


ESCAPES = [
    "{{ x['_' ~ 'cla' + 'ss__'] }}",
    "{{ x['_' * 2 ~ y] }}",
    "{{ x[parts|join] }}",
    "{{ x['%c' % 95 ~ y] }}",
    "{{ x|map(attribute='a._b') }}",
    "{{ x|selectattr('_' ~ y) }}",
    "{% set u = '_' %}{% set k = u ~ u ~ 'class' ~ u ~ u %}{{ x[k] }}",
    "{% set u = '__' %}{% if x %}{% set k = u + y %}{% endif %}{{ x[k if z else 0] }}",
    "{{ x.format }}",
    "{{ x.gi_frame }}",
    "{{ x.mro }}",
    "{{ x|map('attr', y) }}",
    "{% include 'x' %}",
    "{% generation %}{{ x['_' ~ y] }}{% endgeneration %}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_an_escape_is_found_by_the_grammar(text: str) -> None:
    _compile_jinja_template(text)  # it is a template to transformers
    assert escapes(text) is not None
    assert suspicious(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages[loop.index0 - 1]['role'] }}",
        "{{ messages[messages|length - 1].content.split('x')[-1] }}",
        "{{ m['a' if b else 'c'] }}",
        "{% set key = name ~ '_type' %}{% set sep = '_' %}{{ tools[key] }}{{ name.replace(sep, ' ') }}",
        "{{ tools[name|lower] }}",
        "{{ '{}: {}'.format(a, b) }}",
        "{{ m['tool_' ~ name] }}",
        "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join }}",
        "{% for m in messages %}{% if m.x %}{% continue %}{% endif %}{{ m.y }}{% endfor %}",
        "{% generation %}{{ message['content'] }}{% endgeneration %}",
    ],
)
def test_what_templates_ordinarily_do_is_silent(text: str) -> None:
    _compile_jinja_template(text)
    assert suspicious(text) is None


@effort(150)
@given(st.lists(st.sampled_from(["{{", "}}", "{%", "%}", "x", ".", "['a']", "~", "(", ")", "if ", "for a in b", " "])))
def test_any_text_can_be_asked(pieces: list[str]) -> None:
    escapes("".join(pieces))


def test_a_template_that_is_nested_too_deeply_is_no_crash() -> None:
    text = "{{ " + "(" * 20_000 + "x" + ")" * 20_000 + " }}"
    with pytest.raises((RecursionError, jinja2.TemplateError)):
        jinja2.Environment(autoescape=True).parse(text)
    assert escapes(text) is not None  # where the parser breaks off depends on the process that runs it


def test_what_matters_is_not_hidden_behind_what_does_not() -> None:
    many: dict[str, object] = {f"a{number}_file": "/x" for number in range(5000)}
    found = judge_keys({**many, "attn_implementation": "org/kernel"}, "c.json")
    assert ("AIV501", "high") in {(item.rule, item.severity.value) for item in found}
    names = {f"Auto{number}": f"m{number}.C" for number in range(2000)}
    assert {item.severity.value for item in judge_keys({"auto_map": names}, "c.json")} == {"high"}


def test_no_number_of_parts_hides_one_of_them() -> None:
    index: dict[str, object] = {f"part{number}": ["diffusers", "Net"] for number in range(5_000)}
    (found,) = judge_keys({**index, "unet": ["my_unet", "Net"]}, "model_index.json")
    assert found.evidence["code"] == ["my_unet.Net", "unet.my_unet", "unet/my_unet.py"]
    modules = [{"type": "sentence_transformers.models.Normalize"}] * 5_000
    (found,) = judge_keys([*modules, {"type": "mine.Net"}], "modules.json")
    assert found.evidence["code"] == ["mine.Net"]
    many = judge_keys([{"type": "mine.Net"}] * 5_000, "modules.json")
    assert len(many) == 1_001
    assert many[-1].severity == "high"


def test_a_module_loader_of_mlflow_is_looked_for_in_its_folder_of_code() -> None:
    text = b"flavors:\n  python_function:\n    code: code/src\n    loader_module: mine.load\n"
    found = examine_yaml(text, "MLmodel").findings
    assert [item.evidence["code"] for item in found] == [["code.src.mine.load"], ["mine.load"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !apply:os.system ['id']", ("AIV501", "high")),
        ("a: !new:subprocess.Popen [[id]]", ("AIV501", "high")),
        ("a: !name:mine.go ''", ("AIV501", "medium")),
        ("a: !applyref:mine.go 1", ("AIV501", "medium")),
        ("a: !module:mine", ("AIV501", "medium")),
        ("%TAG !e! !apply:\n---\na: !e!os.system [id]", ("AIV501", "high")),
        ("a: !apply:%6Fs.system [id]", ("AIV501", "high")),
        ("a: (!!python/object/apply:os.system ['id'])", ("AIV501", "high")),
        ("a: !tuple \"(!!python/object/apply:os.system ['id'])\"", ("AIV501", "high")),
        ("a: !include:../../x.yaml", ("AIV510", "medium")),
    ],
)
def test_a_tag_that_a_loader_acts_on_is_found(text: str, said: tuple[str, str]) -> None:
    (found,) = examine_yaml(text.encode(), "hyperparams.yaml").findings
    assert (found.rule, found.severity.value) == said


def test_the_tags_of_an_ordinary_model_of_speechbrain_are_silent() -> None:
    text = """
sample_rate: 16000
shape: (1, 2)
size: !ref <sample_rate> // 2
norm: !name:torch.nn.BatchNorm1d
model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <size>
tokenizer: !new:sentencepiece.SentencePieceProcessor
seed: !apply:torch.manual_seed [1]
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables: {model: !ref <model>}
"""
    assert examine_yaml(text.encode(), "hyperparams.yaml").findings == []


def test_long_names_cost_no_more_than_their_length() -> None:
    for key in ("target", "_target_", "class_path", "attn_implementation"):
        for name in ("a." * 2_000_000, "a/" + "@" * 2_000_000 + "/", "A" * 2_000_000):
            judge_keys({key: name, "params": {}}, "c.json")
    names = ["a/" + "@" * 990 + "/"] * 2_000
    judge_keys([{"attn_implementation": name} for name in names], "c.json")
    examine_yaml(b"a: (" + b"!" * 500_000 + b")", "c.yaml")


def test_long_keys_cost_no_more_than_their_length() -> None:
    assert judge_keys({"_" * 1_000_000 + "x": "a/b", "kernel_" * 100_000: "a/b"}, "c.json") == []


def test_without_jinja_the_lexical_check_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert escapes("{{ x['_' * 2 ~ y] }}") is None
    assert suspicious("{{ x.__class__ }}") is not None
