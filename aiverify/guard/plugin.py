"""The plugin of vLLM: its general plugins are called in each of its processes, before a model is loaded.

vLLM goes on without a plugin that cannot be imported, and not without one whose call fails. So this module imports
nothing until it is called.
"""


def vllm() -> None:
    """As ``aiverify.protect()``; vLLM may call it any number of times. Raises what that raises."""
    from aiverify.guard.session import protect

    protect()
