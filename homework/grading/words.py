"""What a student wrote for a person to mark, also where it does not stand in the cell that is meant for it."""

import io
import re
import tokenize

from .cells import released
from .recognize import code_of, plain, recognize, without_stubs

WORD = re.compile(r"[^\W\d_]{2,}")
FEWEST_WORDS = 5  # that make a cell of code one of words
LONGEST_TEXT = 20_000


def answers(cells, source, ids):
    """Collect the words for each question that a person marks.

    Parameters
    ----------
    cells : list of Cell
        Of the submission, as it was sent.
    source : list of Cell
        Of the assignment.
    ids : iterable of str
        The grade ids of the cells that are meant for words.

    Returns
    -------
    texts : dict of str to str
        By grade id: the words in that cell, then those beside it, and if there are none, all words of the student's own
        anywhere in the notebook.
    notes : list of str
        A sentence for each answer of which words stand elsewhere.
    """
    known, texts, notes = recognize(cells, source), {}, []
    own = [_own(cell, None if i is None else source[i]) for cell, i in zip(cells, known, strict=True)]
    places = {cell.grade_id: at for at, cell in enumerate(source) if cell.grade_id}
    for id in ids:
        if id not in places:
            continue
        at = places[id]
        meant = "\n\n".join(cell.source for cell, i in zip(cells, known, strict=True) if i == at)
        empty = not without_stubs(meant)
        first = max((n for n, i in enumerate(known) if i is not None and i < at), default=0)
        last = min((n for n, i in enumerate(known) if i is not None and i > at and n > first), default=len(cells))
        beside = [own[n] for n in range(first, last) if own[n] and known[n] != at]
        if empty and not beside:
            beside = [text for text in own if text]
        texts[id] = "\n\n".join([meant, *beside] if beside and not empty else beside or [meant])[:LONGEST_TEXT]
        if beside:
            where = "Words in other cells" if empty else "More words in other cells"
            notes.append(f"{where} are shown for {id!r}: a person decides whether they are its answer.")
    return texts, notes


def _own(cell, given):
    """The words of a student in a cell that is not meant for them; empty if there are none."""
    if given is not None and (given.solution or given.kind == "code"):
        return ""
    if given is None:
        return without_stubs(cell.source) if cell.kind != "code" or _is_words(cell.source) else ""
    text, question = cell.source, released(given).source
    if plain(text) == plain(question):
        return ""
    if question in text:
        return text.replace(question, "", 1).strip()
    lines = {plain(line) for line in question.splitlines()}
    return "\n".join(line for line in text.splitlines() if plain(line) not in lines).strip()


def _is_words(text):
    """Whether a cell of code has more words in its comments and strings, or as they are, than names."""
    words = names = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(code_of(text)).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                words += len(WORD.findall(token.string))
            names += token.type == tokenize.NAME
        compile(code_of(text), "<cell>", "exec")
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
        words, names = len(WORD.findall(text)), 0
    return words >= FEWEST_WORDS and words > names
