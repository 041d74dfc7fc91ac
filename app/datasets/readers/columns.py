"""Find the column names of a table, and propose what each column is for."""

import re
from typing import Final

from app.datasets.readers.column_names import (
    Certainty,
    Meaning,
    is_known_name,
    meaning_of,
    normalised,
)
from app.datasets.readers.records import ColumnRole, Surplus
from app.datasets.readers.survey import ColumnSurvey

_ROWS_FOR_NAMES: Final = 10
_SURE_NAMES: Final = 2
_TRL_NAMES: Final = frozenset({"prompt", "completion", "label"})
_WORDS_IN_A_NAME: Final = 6
_LONGEST_MEAN_NAME: Final = 25
_SEPARATOR_LINE: Final = re.compile(r"sep=.?", re.IGNORECASE)


def rows_above_names(rows: list[list[str]]) -> int:
    """Return how many rows stand above the column names: a title, a date, Excel's `sep=;`.

    The names are known ones, at least two of them, within the first ten rows; what stands above
    fills fewer cells than they do.
    """
    for above, row in enumerate(rows[:_ROWS_FOR_NAMES]):
        if known_names(row) >= _SURE_NAMES:
            width = _filled(row)
            return above if all(_filled(other) < width for other in rows[:above]) else 0
    return 1 if rows and rows[0] and _SEPARATOR_LINE.fullmatch("".join(rows[0])) else 0


def known_names(row: list[str]) -> int:
    """Return how many known names a row of column names holds; 0 if it is a row of texts."""
    cells = [cell.strip() for cell in row if cell.strip()]
    are_names = all(len(cell.split()) <= _WORDS_IN_A_NAME for cell in cells)
    return sum(map(is_known_name, cells)) if are_names and len(set(cells)) == len(cells) else 0


def has_known_names(rows: list[list[str]]) -> bool:
    """Say whether a table has a row of column names of which two or more are known ones."""
    above = rows_above_names(rows)
    return above < len(rows) and known_names(rows[above]) >= _SURE_NAMES


def _filled(row: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def has_header(rows: list[list[str]]) -> bool:
    """Say whether the first row holds names rather than the first example."""
    first = [cell.strip() for cell in rows[0]]
    if any(is_known_name(cell) for cell in first) and all(len(cell) <= 60 for cell in first):
        return True
    filled = [cell for cell in first if cell]
    if not filled or len(set(filled)) < len(filled):
        return False
    if any(len(cell) > 40 or cell.endswith((".", "?", "!", ":")) for cell in filled):
        return False
    if any(cell.replace(".", "").replace(",", "").isdigit() for cell in filled):
        return False
    # A value that comes again below is an example's, not a name.
    below = rows[1:]
    return not any(
        cell and any(len(row) > place and row[place].strip() == cell for row in below)
        for place, cell in enumerate(first)
    )


def names_from(
    rows: list[list[str]], *, header: bool, surplus: Surplus = Surplus.NOBODYS
) -> list[str]:
    """Return a name for each column, each different from the others."""
    width, below = len(rows[0]), [len(row) for row in rows[1:]]
    is_wider = sum(count > width for count in below) > 0.5 * len(below)
    is_unnamed = is_wider and surplus not in {Surplus.OF_TEXTS, Surplus.OF_LAST}
    if below and (not header or is_unnamed):
        # Few rows with more cells than names are damaged; many mean that a name is missing.
        width = max(width, max(set(below), key=below.count))
    names: list[str] = []
    for place in range(width):
        given = rows[0][place] if header and place < len(rows[0]) else ""
        name = " ".join(given.replace("\ufeff", "").replace("\x00", "").split())[:100]
        name = name or f"Column {place + 1}"
        while name in names:
            name += "′"
        names.append(name)
    return names


def propose_roles(columns: list[ColumnSurvey]) -> list[ColumnRole]:
    """Propose a role for each column from its name and its contents."""
    groups = _groups_of(columns)
    if roles := _judged_roles(columns, groups):
        return roles
    conversations = [place for place, column in enumerate(columns) if column.is_conversation]
    if conversations:
        roles = [
            ColumnRole.INSTRUCTIONS
            if group == ColumnRole.INSTRUCTIONS and not column.lists
            else ColumnRole.IGNORE
            for group, column in zip(groups, columns, strict=True)
        ]
        roles[conversations[0]] = ColumnRole.CONVERSATION
        if columns[conversations[0]].filled < columns[conversations[0]].rows:
            roles = _with_pairs_beside(roles, _roles_by_name(columns, groups))
        return roles
    roles = _roles_by_name(columns, groups)
    if ColumnRole.QUESTION in roles and ColumnRole.ANSWER in roles:
        return _with_thumbs(columns, groups, roles)
    if ColumnRole.QUESTION in roles and ColumnRole.KIND in roles:
        return roles
    return _roles_by_contents(columns, groups, roles)


def _groups_of(columns: list[ColumnSurvey]) -> list[str]:
    """Return the group of names that each column belongs to.

    Of several columns that may hold the questions, or the answers, only the best one keeps it.
    """
    meanings = [meaning_of(column.name) if column.filled else Meaning("") for column in columns]
    groups = [meaning.group for meaning in meanings]
    for group in (ColumnRole.QUESTION, ColumnRole.ANSWER):
        places = [place for place, found in enumerate(groups) if found == group]
        best = max(
            places,
            key=lambda place: _fitness(columns[place], meanings[place].certainty),
            default=None,
        )
        for place in places:
            if place != best or _gives_way(place, columns, meanings):
                groups[place] = ""
    return groups


def _fitness(column: ColumnSurvey, certainty: Certainty) -> tuple[bool, bool, int, float]:
    """What makes one of two columns the better question or answer, the weightiest first."""
    return certainty is Certainty.WHOLE, column.holds_text, certainty, column.mean_length


def _gives_way(place: int, columns: list[ColumnSurvey], meanings: list[Meaning]) -> bool:
    """Say whether another column has the text that the name of this one promises at most.

    In `Customer email` stand addresses, and in `Agent` often only who answered.
    """
    column, certainty = columns[place], meanings[place].certainty
    if certainty is Certainty.WHOLE:
        return False
    longest = max(
        (
            other.mean_length
            for other, meaning in zip(columns, meanings, strict=True)
            if meaning.group in {"", "text"} and other.holds_text and not other.lists
        ),
        default=0.0,
    )
    if not column.holds_text:
        return longest > 0
    may_hold_names = certainty is Certainty.PERSON and not column.questions and not column.lists
    is_short = column.mean_length <= _LONGEST_MEAN_NAME
    return may_hold_names and is_short and longest > 2 * column.mean_length


def _judged_roles(columns: list[ColumnSurvey], groups: list[str]) -> list[ColumnRole]:
    """Propose roles for a file of preferences, or of messages in two columns; none if it is none.

    A question apart is not needed where both answers are whole conversations.
    """
    has_pairs = ColumnRole.REJECTED in groups and not {"chosen", ColumnRole.ANSWER}.isdisjoint(
        groups
    )
    lists = {group for group, column in zip(groups, columns, strict=True) if column.lists}
    in_turns = bool(lists & {ColumnRole.QUESTION, ColumnRole.ANSWER, "further"})
    if not has_pairs and not (in_turns and {ColumnRole.QUESTION, ColumnRole.ANSWER} <= set(groups)):
        return []
    roles = [ColumnRole.IGNORE] * len(columns)
    for role, names in (
        (ColumnRole.ANSWER, ("chosen", ColumnRole.ANSWER)),
        (ColumnRole.REJECTED, (ColumnRole.REJECTED,)),
        (ColumnRole.QUESTION, (ColumnRole.QUESTION, "instruction", "further", "text")),
        (ColumnRole.INSTRUCTIONS, (ColumnRole.INSTRUCTIONS,)),
        (ColumnRole.EARLIER, (ColumnRole.EARLIER,)),
    ):
        for name in names:
            if name in groups and role not in roles:
                _give(roles, groups, name, role)
    return _with_thumbs(columns, groups, roles)


def _with_thumbs(
    columns: list[ColumnSurvey], groups: list[str], roles: list[ColumnRole]
) -> list[ColumnRole]:
    """Add a column of thumbs to questions and answers that have one.

    Words that can be read as thumbs prove nothing: a `sentiment` is the customer's mood, and a
    `type` may be anything. Only TRL calls thumbs a label.
    """
    if not {ColumnRole.QUESTION, ColumnRole.ANSWER} <= set(roles) or ColumnRole.REJECTED in roles:
        return roles
    names = [normalised(column.name) for column in columns]
    label = names.index("label") if set(names) >= _TRL_NAMES else -1
    for place, column in enumerate(columns):
        is_named = groups[place] == ColumnRole.THUMB or place == label
        if is_named and column.holds_thumbs and roles[place] is ColumnRole.IGNORE:
            return [*roles[:place], ColumnRole.THUMB, *roles[place + 1 :]]
    return roles


def _with_pairs_beside(roles: list[ColumnRole], named: list[ColumnRole]) -> list[ColumnRole]:
    """Add questions and answers for the rows that hold no conversation, if both have a column."""
    if ColumnRole.QUESTION not in named or ColumnRole.ANSWER not in named:
        return roles
    return [
        pair if role is ColumnRole.IGNORE else role for role, pair in zip(roles, named, strict=True)
    ]


def _roles_by_name(columns: list[ColumnSurvey], groups: list[str]) -> list[ColumnRole]:
    roles = [ColumnRole.IGNORE] * len(columns)
    for place, group in enumerate(groups):
        if group in {ColumnRole.QUESTION, ColumnRole.ANSWER} and group not in roles:
            roles[place] = ColumnRole(group)
        elif group == ColumnRole.INSTRUCTIONS and not columns[place].lists:
            roles[place] = ColumnRole.INSTRUCTIONS
        elif group == ColumnRole.EARLIER and columns[place].lists:
            roles[place] = ColumnRole.EARLIER
    if "instruction" in groups:
        place = groups.index("instruction")
        is_taken = ColumnRole.QUESTION in roles
        roles[place] = ColumnRole.INSTRUCTIONS if is_taken else ColumnRole.QUESTION
    # Alpaca's `input`, or a context, belongs to the question; alone, it is the question.
    for place, group in enumerate(groups):
        if group == "further":
            roles[place] = ColumnRole.QUESTION
    if ColumnRole.ANSWER not in roles and "kind" in groups:
        sorts = columns[groups.index("kind")].may_hold_kinds
        _give(roles, groups, "kind", ColumnRole.KIND if sorts else ColumnRole.ANSWER)
    if ColumnRole.QUESTION not in roles and _named_outcome(roles) is not None:
        _give(roles, groups, "text", ColumnRole.QUESTION)
    return roles


def _roles_by_contents(
    columns: list[ColumnSurvey], groups: list[str], roles: list[ColumnRole]
) -> list[ColumnRole]:
    """Fill in the question or the answer that no name tells."""
    taken = {place for place, role in enumerate(roles) if role is not ColumnRole.IGNORE}
    texts = [
        place
        for place, column in enumerate(columns)
        if place not in taken and column.filled and not column.is_numeric and not column.lists
    ]
    has_question, outcome = ColumnRole.QUESTION in roles, _named_outcome(roles)
    is_half_known = has_question or outcome is not None
    told = [place for place in texts if columns[place].holds_text]
    if len(told) >= (1 if is_half_known else 2):
        texts = told
    if is_half_known and texts:
        missing = ColumnRole.ANSWER if has_question else ColumnRole.QUESTION
        roles[max(texts, key=lambda place: columns[place].mean_length)] = missing
    elif is_half_known:
        place = roles.index(outcome or ColumnRole.QUESTION)
        roles[place] = ColumnRole.PASSAGE
        return [role if role is ColumnRole.PASSAGE else ColumnRole.IGNORE for role in roles]
    elif len(texts) >= 2 and "text" not in groups:
        question, answer = _question_and_answer(columns, texts)
        sorts = columns[answer].holds_kinds and not columns[question].holds_kinds
        roles[question] = ColumnRole.QUESTION
        roles[answer] = ColumnRole.KIND if sorts else ColumnRole.ANSWER
    elif texts:
        named = [place for place in texts if groups[place] == "text"] or texts
        passage = max(named, key=lambda place: columns[place].mean_length)
        roles = [ColumnRole.IGNORE] * len(columns)
        roles[passage] = ColumnRole.PASSAGE
    return roles


def _named_outcome(roles: list[ColumnRole]) -> ColumnRole | None:
    """Return what is to be learned, if a name told it: the answer, or else the kind."""
    return next((role for role in (ColumnRole.ANSWER, ColumnRole.KIND) if role in roles), None)


def _question_and_answer(columns: list[ColumnSurvey], texts: list[int]) -> tuple[int, int]:
    kinds = [place for place in texts if columns[place].holds_kinds]
    others = [place for place in texts if place not in kinds]
    if kinds and others:
        # One label column beside texts is sorting; the label is the kind.
        if len(others) == 1:
            return others[0], kinds[0]
        texts = others
    asked = max(texts, key=lambda place: columns[place].questions / columns[place].filled)
    if columns[asked].questions >= 0.3 * columns[asked].filled:
        rest = [place for place in texts if place != asked]
        return asked, max(rest, key=lambda place: columns[place].mean_length)
    longest = sorted(texts, key=lambda place: columns[place].mean_length)[-2:]
    return min(longest), max(longest)


def _give(roles: list[ColumnRole], groups: list[str], group: str, role: ColumnRole) -> None:
    for place, found in enumerate(groups):
        if found == group and roles[place] is ColumnRole.IGNORE:
            roles[place] = role
            return
