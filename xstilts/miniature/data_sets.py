"""The data sets of the miniature, with the columns and types of the hub."""

from xstilts.miniature.schemas import Classes, DataSet, List, Struct

_NLI = Classes(("entailment", "neutral", "contradiction"))
_UPOS = tuple(
    "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
)
_IOB = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
_PAIR = {"premise": "string", "hypothesis": "string", "label": _NLI}
_ANSWERS = List({"text": "string", "answer_start": "int32"})
_QA = {
    "id": "string",
    "title": "string",
    "context": "string",
    "question": "string",
    "answers": _ANSWERS,
}
_COPA = {"premise": "string", "choice1": "string", "choice2": "string", "question": "string"}
_MNLI = {**_PAIR, "idx": "int32"}
_QQP = {
    "question1": "string",
    "question2": "string",
    "label": Classes(("not_duplicate", "duplicate")),
    "idx": "int32",
}
_HELLASWAG = {
    "ind": "int32",
    "activity_label": "string",
    "ctx_a": "string",
    "ctx_b": "string",
    "ctx": "string",
    "endings": List("string"),
    "source_id": "string",
    "split": "string",
    "split_type": "string",
    "label": "string",
}
_BITEXT = dict.fromkeys(
    ("source_sentence", "target_sentence", "source_lang", "target_lang"), "string"
)
_UD_UPOS = tuple(
    "NOUN PUNCT ADP NUM SYM SCONJ ADJ PART DET CCONJ PROPN PRON X _ ADV INTJ VERB AUX".split()
)
_UD = {
    "idx": "string",
    "text": "string",
    "tokens": List("string"),
    "lemmas": List("string"),
    "upos": List(Classes(_UD_UPOS)),
    "xpos": List("string"),
    "feats": List("string"),
    "head": List("string"),
    "deprel": List("string"),
    "deps": List("string"),
    "misc": List("string"),
}
_CAULDRON = {
    "images": List("image"),
    "texts": Struct(dict.fromkeys(("user", "assistant", "source"), "string"), many=True),
}
_GQA_IMAGES = {"id": "string", "image": "image"}
_GQA_INSTRUCTIONS = {
    "id": "string",
    "imageId": "string",
    "question": "string",
    "answer": "string",
    "fullAnswer": "string",
    "isBalanced": "bool",
    "groups": Struct({"global": "string", "local": "string"}),
    "entailed": "string",
    "equivalent": "string",
    "types": Struct(dict.fromkeys(("structural", "semantic", "detailed"), "string")),
    "semanticStr": "string",
}
_SNLI_VE = {
    "image": "image",
    "filename": "string",
    "premise": "string",
    "hypothesis": "string",
    "label": _NLI,
    "id": "int64",
    "id_image": "int64",
}
_SPAN = {"start": "int64", "end": "int64"}
_MENTION = {
    "example_id": "string",
    "mention_span": Struct({**_SPAN, "text": "string"}),
    "entity_id": "string",
}
_CONTEXT = {
    **dict.fromkeys(
        ("document_title", "document_url", "document_id", "section_title", "language", "text"),
        "string",
    ),
    "sentence_spans": Struct(_SPAN, many=True),
}
_ENTITY = {
    **dict.fromkeys(
        ("entity_id", "title", "description", "description_url", "description_language"), "string"
    ),
    "sentence_spans": Struct(_SPAN, many=True),
}

DATA_SETS = {
    data_set.path: data_set
    for data_set in (
        DataSet(
            "tau/commonsense_qa",
            "CommonsenseQA",
            {
                "id": "string",
                "question": "string",
                "question_concept": "string",
                "choices": List({"label": "string", "text": "string"}),
                "answerKey": "string",
            },
        ),  # fmt: skip
        DataSet("stanfordnlp/snli", "SNLI", _PAIR),
        DataSet("rajpurkar/squad", "SQuAD v1.1", _QA),
        DataSet("facebook/anli", "ANLI", {"uid": "string", **_PAIR, "reason": "string"}),
        DataSet(
            "jxie/coco_captions",
            "COCO captions",
            {"image": "image", "filename": "string", "cocoid": "int64", "caption": "string"},
        ),
        DataSet(
            "lil-lab/nlvr",
            "NLVR",
            {
                "identifier": "string",
                "image": "image",
                "sentence": "string",
                "label": Classes(("false", "true")),
                "directory": "string",
                "permutation": "int8",
            },
        ),  # fmt: skip
        DataSet("nyu-mll/glue", "GLUE", {}, {"mnli": _MNLI, "qqp": _QQP}),
        DataSet(
            "allenai/social_i_qa",
            "Social IQa",
            dict.fromkeys(
                ("context", "question", "answerA", "answerB", "answerC", "label"), "string"
            ),
        ),
        DataSet(
            "aps/super_glue",
            "SuperGLUE",
            {**_COPA, "idx": "int32", "label": Classes(("choice1", "choice2"))},
        ),
        DataSet(
            "google/xtreme",
            "XTREME",
            {},
            {
                "udpos": {"tokens": List("string"), "pos_tags": List(Classes(_UPOS))},
                "tatoeba": _BITEXT,
                "bucc18": _BITEXT,
                "MLQA": _QA,
            },
        ),
        DataSet(
            "mteb/tatoeba-bitext-mining",
            "Tatoeba",
            {"sentence1": "string", "sentence2": "string", "lang": "string"},
        ),
        DataSet(
            "unimelb-nlp/wikiann",
            "WikiANN",
            {
                "tokens": List("string"),
                "ner_tags": List(Classes(_IOB)),
                "langs": List("string"),
                "spans": List("string"),
            },
        ),  # fmt: skip
        DataSet("facebook/xnli", "XNLI", _PAIR),
        DataSet(
            "cambridgeltl/xcopa",
            "XCOPA",
            {**_COPA, "label": "int32", "idx": "int32", "changed": "bool"},
        ),
        DataSet(
            "google/xquad", "XQuAD", {name: kind for name, kind in _QA.items() if name != "title"}
        ),
        DataSet(
            "xstilts/miniature-text",
            "Plain text and dictionary of the miniature",
            {"id": "string", "text": "string"},
            {"dictionary": dict.fromkeys(("concept", "kind", "language", "word"), "string")},
        ),
        DataSet("rajpurkar/squad_v2", "SQuAD v2.0", _QA),
        DataSet("Rowan/hellaswag", "HellaSwag", _HELLASWAG),
        DataSet(
            "allenai/cosmos_qa",
            "Cosmos QA",
            {
                **dict.fromkeys(
                    ("id", "context", "question", *(f"answer{n}" for n in range(4))), "string"
                ),
                "label": "int32",
            },
        ),
        DataSet("universal-dependencies/universal_dependencies", "Universal Dependencies", _UD),
        DataSet("google-research-datasets/tydiqa", "TyDi QA", _QA),
        DataSet(
            "google-research-datasets/paws-x",
            "PAWS-X",
            {
                "id": "int32",
                "sentence1": "string",
                "sentence2": "string",
                "label": Classes(("0", "1")),
            },
        ),
        DataSet(
            "izhx/mewsli-x",
            "Mewsli-X",
            {"context": Struct(_CONTEXT), "mentions": Struct(_MENTION, many=True)},
            {
                "wikipedia_pairs": {
                    "context": Struct(_CONTEXT),
                    "mention": Struct(_MENTION),
                    "entity": Struct(_ENTITY),
                },
                "candidate_entities": _ENTITY,
            },
        ),
        DataSet("Salesforce/wikitext", "WikiText", {"text": "string"}),
        DataSet(
            "wikimedia/wikipedia",
            "Wikipedia",
            dict.fromkeys(("id", "url", "title", "text"), "string"),
        ),
        DataSet("translated/mnli", "MultiNLI, translated", _MNLI),
        DataSet("translated/qqp", "QQP, translated", _QQP),
        DataSet("translated/hellaswag", "HellaSwag, translated", _HELLASWAG),
        DataSet(
            "umaru97/flickr30k_train_val_test",
            "Flickr30k",
            {
                "image": "image",
                "caption": List("string"),
                "sentids": List("string"),
                "split": "string",
                "img_id": "string",
                "filename": "string",
            },
        ),
        DataSet("HuggingFaceM4/the_cauldron", "The Cauldron", _CAULDRON),
        DataSet(
            "lmms-lab/VQAv2",
            "VQA v2",
            {
                "question_type": "string",
                "multiple_choice_answer": "string",
                "answers": Struct(
                    {"answer": "string", "answer_confidence": "string", "answer_id": "int64"},
                    many=True,
                ),
                "image_id": "int64",
                "answer_type": "string",
                "question_id": "int64",
                "question": "string",
                "image": "image",
            },
        ),
        DataSet(
            "lmms-lab/GQA",
            "GQA",
            {},
            {
                f"{split}_balanced_{part}": columns
                for split in ("train", "val")
                for part, columns in (("images", _GQA_IMAGES), ("instructions", _GQA_INSTRUCTIONS))
            },
        ),
        DataSet(
            "vzhou842/easy-VQA",
            "easy-VQA",
            {"image": "image", "question": "string", "answer": "string", "image_id": "int32"},
        ),
        DataSet(
            "HuggingFaceM4/A-OKVQA",
            "A-OKVQA",
            {
                "image": "image",
                "question_id": "string",
                "question": "string",
                "choices": List("string"),
                "correct_choice_idx": "int8",
                "direct_answers": "string",
                "difficult_direct_answer": "bool",
                "rationales": List("string"),
            },
        ),
        DataSet(
            "derek-thomas/ScienceQA",
            "ScienceQA",
            {
                "image": "image",
                "question": "string",
                "choices": List("string"),
                "answer": "int8",
                **dict.fromkeys(
                    (
                        "hint",
                        "task",
                        "grade",
                        "subject",
                        "topic",
                        "category",
                        "skill",
                        "lecture",
                        "solution",
                    ),
                    "string",
                ),
            },
        ),
        DataSet("Multimodal-Fatima/SNLI-VE_train", "SNLI-VE train", _SNLI_VE),
        DataSet("Multimodal-Fatima/SNLI-VE_validation", "SNLI-VE validation", _SNLI_VE),
        DataSet(
            "lmms-lab/RefCOCO",
            "RefCOCO",
            {
                "question_id": "string",
                "image": "image",
                "question": "string",
                "answer": List("string"),
                "segmentation": List("float32"),
                "bbox": List("float32"),
                "iscrowd": "int8",
                "file_name": "string",
            },
        ),
        DataSet(
            "HuggingFaceH4/llava-instruct-mix-vsft",
            "LLaVA-Instruct",
            {
                "messages": Struct(
                    {
                        "content": Struct(
                            {"index": "int64", "text": "string", "type": "string"}, many=True
                        ),
                        "role": "string",
                    },
                    many=True,
                ),
                "images": List("image"),
            },
        ),
    )
}
