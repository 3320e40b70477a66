"""Which bytes are these?"""
