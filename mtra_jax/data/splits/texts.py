"""A raw text -> the text that is tokenised."""


def normalize(text: str) -> str:
    r"""Strips the white space around `text`; white space inside it stays.

    Training, scoring and prediction tokenise the result. TweetEval's files end each line
    with a blank, which RoBERTa's tokenizer would encode and the hub's copy lacks.

    >>> normalize(" so  good \n")
    'so  good'
    """
    return text.strip()
