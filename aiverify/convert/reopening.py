"""A program of its own: opens a safetensors file with the safetensors library and says what the library sees.

The library insists on a framework, of which numpy is the smallest, although names, types and shapes need none. numpy is
not a dependency, so this process, which does nothing else, gives it an empty module of that name.

Reads one JSON object from standard input (``path``, and ``packages``: where to find the library) and writes one:
``metadata`` and ``tensors`` (name to dtype and shape), or ``error``.
"""

import json
import sys
import types


def main() -> None:
    """Answer one question."""
    question = json.load(sys.stdin)
    sys.path[:] = question["packages"]
    sys.modules["numpy"] = types.ModuleType("numpy")
    import safetensors

    try:
        with safetensors.safe_open(question["path"], framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            tensors = {name: [view.get_dtype(), view.get_shape()] for name, view in slices.items()}
            answer = {"metadata": file.metadata(), "tensors": tensors}
    except (safetensors.SafetensorError, OSError) as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
