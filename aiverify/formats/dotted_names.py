"""Dotted names in configurations: what a loader imports, and mostly calls, because they stand there.

Loaders import as much of a name as they can and take the rest as attributes: ``torch.os.system`` is of no library.
Names of libraries that people install themselves are silent, all others are code that nobody here knows; where they
lead to a file of the artifact, it is judged with them (``code`` in the evidence).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiverify.finding import Finding, Severity
from aiverify.pickles.graph import Global
from aiverify.pickles.tables import danger
from aiverify.rules import finding

LONGEST_NAME = 1_000
_SHOWN = 200
#: What configurations of training libraries name in every file: classes of libraries, not of the artifact.
LIBRARIES = frozenset(
    (
        *("accelerate", "diffusers", "hydra", "hydra_plugins", "lightning", "lightning_fabric"),
        *("megatron", "mlflow", "monai", "nemo", "numpy", "omegaconf", "peft", "pyannote", "pytorch_lightning"),
        *("sentence_transformers", "sentencepiece", "speechbrain", "timm", "torch", "torchaudio", "torchmetrics"),
        *("torchtune", "torchvision", "transformers"),
    )
)
#: Code of papers that came without a package, and whose configurations are passed on with the weights.
_OF_PAPERS = frozenset(("cldm", "ldm", "sgm", "taming"))
#: Functions of those libraries that call, import or start what they are given.
_CALLING = (
    *("accelerate.commands", "hydra._internal", "hydra.utils", "lightning.pytorch.cli", "megatron.core.utils"),
    *("accelerate.launchers", "accelerate.utils.launch", "diffusers.utils.dynamic_modules_utils", "mlflow.projects"),
    *("mlflow.run", "monai.bundle", "monai.utils.module", "monai.utils.optional_import", "nemo.core.classes.common"),
    *("nemo.utils.import_utils", "nemo.utils.model_utils", "numpy.ctypeslib", "omegaconf.resolvers"),
    *("sentence_transformers.util.import_from_string", "sentence_transformers.util.misc", "torch.multiprocessing"),
    *("transformers.utils.import_utils",),
    *("pytorch_lightning.cli", "speechbrain.utils.importutils", "torch.classes", "torch.distributed.elastic"),
    *("torch.distributed.launch", "torch.distributed.launcher", "torch.distributed.run", "torch.ops"),
    *("torchtune.config",),
)


#: Of whatever library: what fetches code or a pickle that is elsewhere, and runs it.
_FETCHING = re.compile(r"^mlflow\..*\bload_model\b|\bforeign_class\b")
#: A name to its last character: a part that is put in later (``torch.${name}``) may be anything.
_WHOLE = re.compile(r"\w+(?:\.\w+)*")


def judge_name(where: str, name: str, path: str, *, called: bool = True) -> Iterator[Finding]:
    """AIV501 for the name that the key ``where`` of the file ``path`` has a loader import, and call if ``called``."""
    name, shown = name.strip(), name.strip()[:_SHOWN]
    harm = None if len(name) > LONGEST_NAME else harm_of(name)
    evidence = {"key": where, "code": [name[:LONGEST_NAME]]}
    if harm is not None:
        text = f"{where} has {shown} {'called' if called else 'imported'}, and it {harm}"
        yield finding("AIV501", text, file=path, severity=Severity.HIGH, evidence=evidence)
    elif not of_library(name):
        text = f"{where} names code that is {'called' if called else 'imported'}: {shown}"
        severity = Severity.LOW if name.partition(".")[0] in _OF_PAPERS else None
        yield finding("AIV501", text, file=path, severity=severity, evidence=evidence)


def of_library(name: str) -> bool:
    """Whether ``name`` is what a library offers to build a model from."""
    calling = any(name == prefix or name.startswith(f"{prefix}.") for prefix in _CALLING)
    fetching = _FETCHING.search(name) is not None
    return name.partition(".")[0] in LIBRARIES and _WHOLE.fullmatch(name) is not None and not (calling or fetching)


def harm_of(name: str) -> str | None:
    """What the thing of this name is known to be able to do, as the end of the sentence "it …".

    All behind the first dot is taken for attributes: what passes through another module on the way is found so.
    """
    module, _, rest = name.partition(".")
    module, rest = (module, rest) if rest else ("builtins", module)
    return danger(Global(module, rest, 0, (module, rest)))
