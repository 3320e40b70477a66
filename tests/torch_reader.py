"""torch.load(weights_only=True) as a service: reads paths from stdin, answers each with a digest of what it loaded."""

import hashlib
import json
import resource
import sys
import warnings


def main() -> None:
    import torch

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def described(value: object) -> object:
        if isinstance(value, torch.Tensor):
            raw = value.contiguous().view(torch.uint8).numpy().tobytes() if value.numel() else b""
            return [str(value.dtype), list(value.shape), hashlib.sha256(raw).hexdigest()]
        if isinstance(value, dict):
            return {repr(key): described(item) for key, item in value.items()}
        return repr(value)

    for line in sys.stdin:
        try:
            loaded = torch.load(line.rstrip("\n"), weights_only=True)
            answer = json.dumps(described(loaded))
        except Exception as error:  # noqa: BLE001 - any refusal of torch's is an answer
            answer = f"error: {type(error).__name__}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
