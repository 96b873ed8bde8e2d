"""xstilts: what do multimodal intermediate tasks do to zero-shot cross-lingual transfer?"""

__version__ = "0.1.0"
