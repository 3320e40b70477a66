"""The guard without a change to code: ``aiverify run`` starts a program under it, a hook starts a whole interpreter so.

``launching`` and ``installing`` work in aiverify's own process; ``entering`` and ``boot`` in the one that is guarded.
"""
