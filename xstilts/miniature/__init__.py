"""The miniature: a generated mirror of the hub with invented languages and drawn pictures,
learnable in minutes.
"""
