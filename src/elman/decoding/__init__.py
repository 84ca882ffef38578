"""From scores to symbols: NumPy host code over a `Stepper`."""

from elman.decoding.beam import beam_search
from elman.decoding.generate import generate
from elman.decoding.greedy import greedy
from elman.decoding.hypothesis import Hypothesis
from elman.decoding.sample import Sampler, sample

__all__ = ["Hypothesis", "Sampler", "beam_search", "generate", "greedy", "sample"]
