"""The miniature: a generated mirror with invented languages and drawn images, which tiny models
learn in minutes.
"""
