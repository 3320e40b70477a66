"""A model repository to try the main job on, and a local Hub that serves it."""
