"""Lockfiles: "the same model as yesterday", written down."""
