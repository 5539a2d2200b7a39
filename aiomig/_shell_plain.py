"""Commands that are too plain to be wrong, told by their text alone: what need not be shown to bash. Pure, no I/O."""

from __future__ import annotations

import re

# Each is matched possessively: whatever the text, the time is linear.
_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*+|\{[A-Za-z_][A-Za-z0-9_]*+\}|[0-9?@*$!-])"
# Without what bash may read as more than a word: # ( ) [ ] \ ` < > ; & | and blanks but the space and the tab.
_CHARACTER = r"[A-Za-z0-9_./:=@%,+~^*?{}!-]|[^\x00-\x7f]"
_QUOTED = rf"'[^']*+'|\"(?:[^\"\\`$]|{_VARIABLE})*+\""
# Reserved words make more than simple commands, and the others end or change the shell: see `_shell_endings`.
_SPECIAL = (
    r"(?:!|\{|\}|if|then|else|elif|fi|do|done|case|esac|while|until|for|in|function|select|time|coproc|exit|exec|set)"
)
_WORD = rf"(?!{_SPECIAL}(?![^ \t;&|<>]))(?:(?:{_CHARACTER}|{_VARIABLE}|{_QUOTED})++|(?<![^ \t;&|])[\[\]](?![^ \t;&|]))"
_BLANKS = r"[ \t]*+"
_REDIRECTION = rf"[0-9]*+(?:>>?+|<){_BLANKS}{_WORD}(?![<>])|[0-9]*+>&[0-9](?![^ \t;&|])"
_SIMPLE = rf"(?:(?>{_REDIRECTION}|{_WORD}){_BLANKS})++"
_PLAIN = re.compile(rf"{_BLANKS}{_SIMPLE}(?:(?:&&|\|\||[;|]|&(?!>)){_BLANKS}{_SIMPLE})*+;?{_BLANKS}")


def is_plain(command: str) -> bool:
    """Whether a command is simple commands of plain words alone, which cannot be a syntax error or end the shell.

    Args:
        command: one line.

    Returns:
        True for ``python3 fit.py "$DATA" > out.txt && echo done``; False where there is need to look closer.
    """
    return _PLAIN.fullmatch(command) is not None
