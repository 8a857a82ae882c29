"""What the stand-in was asked to do, for the tests."""

SPOKEN = []
"""A dictionary for each call of `tts`."""
PROMPTS = []
"""Samples and rate of each spectrogram of a prompt."""
LOADED = []
"""How pretrained models were loaded."""
THREADS = []
