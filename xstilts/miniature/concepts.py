"""The concepts of the miniature world by class. Each has one word in every language."""

NAMES = (
    "anna",
    "ben",
    "cara",
    "dan",
    "eva",
    "finn",
    "gus",
    "hana",
    "ivan",
    "jo",
    "kim",
    "leo",
    "mia",
    "noor",
    "otto",
    "pia",
)
SURNAMES = ("adler", "baker", "costa", "diaz", "evans", "fuchs", "gomez", "hall")
DIGITS = tuple("23456789")
NOUNS = (
    "ball",
    "box",
    "cup",
    "book",
    "key",
    "hat",
    "lamp",
    "bag",
    "pen",
    "coin",
    "toy",
    "rope",
    "bell",
    "doll",
    "ring",
    "fork",
    "orange",
    "watch",
)
ANIMALS = ("dog", "cat", "bird", "horse", "fish", "fox", "hen", "mouse")
PLACES = ("kitchen", "garden", "park", "school", "river", "house", "market", "forest")
FIRMS = ("shop", "bank")
COLOURS = (
    "red",
    "blue",
    "green",
    "white",
    "black",
    "brown",
    "pink",
    "orange",
)  # 'orange' is a noun as well
SIZES = ("big", "small", "old", "young")
VERBS = ("holds", "sees", "likes", "wants", "cleans", "watch")  # 'watch' is a noun as well
PREPOSITIONS = ("in", "under", "behind", "near")
FUNCTION = ("the", "is", "are", "works", "at", "where", "what", "who", "howmany")
PUNCTUATION = (".", "?")

#: Word classes. Noise in pretraining replaces a word with another one of its class.
CLASSES = {
    "name": NAMES,
    "surname": SURNAMES,
    "digit": DIGITS,
    "noun": NOUNS,
    "animal": ANIMALS,
    "place": PLACES,
    "firm": FIRMS,
    "colour": COLOURS,
    "size": SIZES,
    "verb": VERBS,
    "preposition": PREPOSITIONS,
    "function": FUNCTION,
    "punctuation": PUNCTUATION,
}
CONCEPTS = tuple(dict.fromkeys(concept for members in CLASSES.values() for concept in members))
#: Spelled the same in all languages that share anchors with English.
ANCHORS = frozenset(NAMES + SURNAMES + DIGITS + PUNCTUATION)


def concept_class(concept: str) -> str:
    """The first class that contains a concept ('orange' and 'watch' are nouns)."""
    return next(name for name, members in CLASSES.items() if concept in members)
