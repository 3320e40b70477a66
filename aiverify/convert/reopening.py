"""A program of its own: opens a safetensors file with the safetensors library and says what the library sees.

The library insists on a framework, of which numpy is the smallest, although names, types and shapes need none. numpy is
not a dependency, so this process, which does nothing else, gives it an empty module of that name.

Reads one JSON object from standard input (``path``, and ``packages``: where to find the library) and writes one on a
line of its own: ``metadata``, or ``error``. A line for each tensor follows, in the order of their names: name, dtype,
shape.
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
            print(json.dumps({"metadata": file.metadata()}))
            for name in sorted(file.offset_keys()):
                view = file.get_slice(name)
                print(json.dumps([name, view.get_dtype(), view.get_shape()]))
    except (safetensors.SafetensorError, OSError) as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main()
