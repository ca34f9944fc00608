"""A raw text, from wherever it comes -> the text that is tokenised."""


def normalize(text: str) -> str:
    r"""Drops the white space around `text`, and keeps all within it.

    Training, scoring and prediction tokenise the result. TweetEval's publisher ends each
    line with a blank, which its copy on the hub lacks and which RoBERTa's tokenizer would
    encode.

    >>> normalize(" so  good \n")
    'so  good'
    """
    return text.strip()
