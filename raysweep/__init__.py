"""raysweep: which pretraining is worth it, for my pathology task, with the labels I have?"""

__version__ = "0.1.0"
