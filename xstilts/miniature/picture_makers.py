"""Rows of further image sets. Every image has one or two colored things, as in COCO captions and
NLVR here; questions ask for the color of a thing or the thing of a color.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from xstilts.miniature import drawings
from xstilts.miniature.concepts import COLOURS, NOUNS, PLACES
from xstilts.miniature.drawings import Drawn
from xstilts.miniature.invented_languages import Clause, InventedLanguage, Word
from xstilts.miniature.rows import Row, described, image_column, sentences_of
from xstilts.miniature.world import IS, QUESTION, THE, favourites, scene

_WHAT = Word("what", "PRON")


class Answered(NamedTuple):
    """A question about an image, its answer, and the class of possible answers."""

    question: str
    answer: str
    pool: Sequence[str]


def _things(rng: Random) -> list[Drawn]:
    return drawings.things(rng, 2 if rng.random() < 0.2 else 1)


def _questions(language: InventedLanguage, things: Sequence[Drawn]) -> list[Answered]:
    """Two questions about each thing: "the ball is what ?" and "what is red ?"."""
    questions = []
    for noun, colour in things:
        of_colour = Clause([THE, Word(noun, "NOUN")], [IS], [_WHAT], end=QUESTION)
        of_thing = Clause([_WHAT], [IS], [Word(colour, "ADJ")], end=QUESTION)
        for clause, answer, pool in ((of_colour, colour, COLOURS), (of_thing, noun, NOUNS)):
            questions.append(
                Answered(language.text(language.say(clause)), language.spell(answer), pool)
            )
    return questions


def several_captions(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """Flickr30k: an image with two captions, in sentences and in phrases ("the red ball .")."""
    for index in range(count):
        things = _things(rng)
        phrases = " ".join(f"{phrase(language, thing)} ." for thing in things)
        yield {
            "image": image_column(rng, language, things, f"{split}-{index}"),
            "caption": [described(language, things), phrases],
            "sentids": [str(2 * index), str(2 * index + 1)],
            "split": split,
            "img_id": str(index),
            "filename": f"{split}-{index}.jpg",
        }


def phrase(language: InventedLanguage, thing: Drawn) -> str:
    """ "the red ball"."""
    words = Clause([THE, Word(thing.colour, "ADJ"), Word(thing.noun, "NOUN")], [])
    return language.text(language.say(words)[:-1])


def cauldron_questions(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """VQAv2 in the Cauldron: one image with all its questions."""
    for index in range(count):
        things = _things(rng)
        texts = [
            {"user": item.question, "assistant": item.answer, "source": "VQAv2"}
            for item in _questions(language, things)
        ]
        yield {"images": [image_column(rng, language, things, f"{split}-{index}")], "texts": texts}


def ten_answers(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """VQAv2: one question per row, with ten equal answers."""
    for index in range(count):
        things = _things(rng)
        item = rng.choice(_questions(language, things))
        yield {
            "question_type": "what",
            "multiple_choice_answer": item.answer,
            "answers": [
                {"answer": item.answer, "answer_confidence": "yes", "answer_id": k}
                for k in range(1, 11)
            ],
            "image_id": index,
            "answer_type": "other",
            "question_id": 1000 * index + 1,
            "question": item.question,
            "image": image_column(rng, language, things, f"{split}-{index}"),
        }


def pictures_apart(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """GQA's images. `questions_apart` with the same rng state asks about them."""
    for index in range(count):
        things = _things(rng)
        yield {"id": f"n{index}", "image": image_column(rng, language, things, f"n{index}")}


def questions_apart(
    rng: Random, language: InventedLanguage, count: int, split: str
) -> Iterator[Row]:
    """GQA's questions about the images of `pictures_apart`."""
    for index in range(count):
        things = _things(rng)
        drawings.draw(rng, things)  # advances rng as in `pictures_apart`
        for number, item in enumerate(_questions(language, things)):
            yield {
                "id": f"{index:06d}{number}",
                "imageId": f"n{index}",
                "question": item.question,
                "answer": item.answer,
                "fullAnswer": described(language, things[number // 2 : number // 2 + 1]),
                "isBalanced": True,
                "groups": {"global": "", "local": ""},
                "entailed": "",
                "equivalent": "",
                "types": {"structural": "query", "semantic": "attr", "detailed": "directWhich"},
                "semanticStr": "",
            }


def shapes(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """easy-VQA: an image and one short question."""
    for index in range(count):
        things = _things(rng)
        item = rng.choice(_questions(language, things))
        image = image_column(rng, language, things, f"{split}-{index}")
        yield {"image": image, "question": item.question, "answer": item.answer, "image_id": index}


def _choices(
    rng: Random, language: InventedLanguage, things: Sequence[Drawn], count: int
) -> tuple[str, list[str], int]:
    """(question, choices, index of the answer): the color of a thing, the thing of a color, or the
    favorite place of the thing, which also needs the world's habits.
    """
    item = rng.choice(_questions(language, things))
    question, right, pool = (
        item.question,
        item.answer,
        [language.spell(member) for member in item.pool],
    )
    if rng.random() < 0.3:
        noun = rng.choice(things).noun
        usual = favourites(noun, "place", PLACES)
        asking = Clause([THE, Word(noun, "NOUN")], [IS], place=[Word("where", "ADV")], end=QUESTION)
        question, right = language.text(language.say(asking)), language.spell(rng.choice(usual))
        pool = [right, *(language.spell(place) for place in PLACES if place not in usual)]
    seen = {language.spell(word) for thing in things for word in thing}
    choices = [
        right,
        *rng.sample([word for word in pool if word != right and word not in seen], count - 1),
    ]
    rng.shuffle(choices)
    return question, choices, choices.index(right)


def chosen(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """A-OKVQA: a question about an image with four choices."""
    for index in range(count):
        things = _things(rng)
        question, choices, right = _choices(rng, language, things, 4)
        yield {
            "image": image_column(rng, language, things, f"{split}-{index}"),
            "question_id": f"{split}{index:06d}",
            "question": question,
            "choices": choices,
            "correct_choice_idx": right,
            "direct_answers": str([choices[right]] * 10),
            "difficult_direct_answer": False,
            "rationales": [described(language, things)] * 3,
        }


def lessons(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """ScienceQA: a hint, a question about the image, two to four choices. A sixth of the rows has
    no image.
    """
    for index in range(count):
        things = _things(rng)
        hint = sentences_of(language, scene(rng, 1))
        question, choices, right = _choices(rng, language, things, rng.randrange(2, 5))
        picture = image_column(rng, language, things, f"{split}-{index}")
        yield {
            "image": picture if index % 6 < 5 else None,
            "question": question,
            "choices": choices,
            "answer": right,
            "hint": hint,
            "task": "closed choice",
            "grade": "grade1",
            "subject": "natural science",
            "topic": "things",
            "category": "colours and places",
            "skill": "look",
            "lecture": "",
            "solution": described(language, things),
        }


def entailments(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """SNLI-VE: three hypotheses per image. Entailed: about a visible thing. Neutral: about a thing
    not in the image. Contradicted: a thing in another color. The premise describes the image.
    """
    for index in range(count):
        if index % 3 == 0:
            things = _things(rng)
            picture = image_column(rng, language, things, f"{split}-{index // 3}")
        label = rng.randrange(3)
        said = rng.choice(things)
        if label == 1:
            said = Drawn(
                rng.choice([n for n in NOUNS if n not in {thing.noun for thing in things}]),
                rng.choice(COLOURS),
            )
        elif label == 2:
            said = said._replace(
                colour=rng.choice([colour for colour in COLOURS if colour != said.colour])
            )
        yield {
            "image": picture,
            "filename": f"{split}-{index // 3}.jpg",
            "premise": described(language, things),
            "hypothesis": described(language, [said]),
            "label": label,
            "id": index,
            "id_image": index // 3,
        }


def two_pictures(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """NLVR2 in the Cauldron: two images and a sentence that is true of one of them or of
    neither.
    """
    for index in range(count):
        pair = [drawings.things(rng, 1), drawings.things(rng, 1)]
        shown = [thing for things in pair for thing in things]
        said, label = rng.choice(shown), rng.randrange(2)
        if not label:
            other = rng.choice(
                [noun for noun in NOUNS if noun not in {thing.noun for thing in shown}]
            )
            said = said._replace(noun=other)
        turn = {
            "user": described(language, [said]),
            "assistant": "Yes." if label else "No.",
            "source": "NLVR2",
        }
        images = [
            image_column(rng, language, things, f"{split}-{index}-{side}")
            for side, things in enumerate(pair)
        ]
        yield {"images": images, "texts": [turn]}


def boxes(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """RefCOCO: a phrase and the box of its thing in pixels."""
    for index in range(count):
        things = drawings.things(rng, rng.choice((1, 2)))
        number = rng.randrange(len(things))
        x, y, width, height = drawings.box(things, number)
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        yield {
            "question_id": f"{split}-{index}",
            "image": image_column(rng, language, things, f"{split}-{index}"),
            "question": "Please provide a short description for this region.",
            "answer": [phrase(language, things[number])],
            "segmentation": corners,
            "bbox": [x, y, width, height],
            "iscrowd": 0,
            "file_name": f"{split}-{index}.jpg",
        }


def instructions(rng: Random, language: InventedLanguage, count: int, split: str) -> Iterator[Row]:
    """LLaVA-Instruct: a conversation about an image with two questions and answers."""
    for index in range(count):
        things = _things(rng)
        first, second = rng.sample(_questions(language, things), 2)
        messages = []
        for number, item in enumerate((first, second)):
            turn: list[Row] = [{"index": None, "text": item.question, "type": "text"}]
            if number == 0:
                turn.append({"index": 0, "text": None, "type": "image"})
            messages.append({"content": turn, "role": "user"})
            reply = [{"index": None, "text": item.answer, "type": "text"}]
            messages.append({"content": reply, "role": "assistant"})
        yield {
            "messages": messages,
            "images": [image_column(rng, language, things, f"{split}-{index}")],
        }
