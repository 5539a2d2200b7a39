"""Commands that end the shell of a job, found in their text. Pure, no I/O.

All commands of a job run in one shell. Whatever ends that with another code than 0 costs the outputs, the exit codes
and the output files of all commands (golden cases exit3-early, exit3-last, out-exit3, set-e-false, set-u).

This is no parser of bash. It follows quotes, substitutions, subshells, pipelines and compound commands as far as it
takes to tell ``cd x && exit 1`` from ``echo exit 3``, ``( exit 3 )`` and ``exit 3 | cat``.

Commands that are too plain to be wrong, told by their text alone: what need not be shown to bash. Pure, no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._core.models import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SUSPECT = re.compile(r"\b(?:exit|exec|set)\b")
_LOST = (
    "a grid then throws away all outputs and exit codes, those of the other commands too, and runs the job again while "
    "retries are left"
)


def endings(commands: Sequence[str]) -> list[Fault]:
    """What ends the shell of a job, or may do so, where it runs in that shell itself.

    Args:
        commands: the command lines of one job, in order.

    Returns:
        A `Fault` for each such command, in order; it is a warning, for such a job is taken.
    """
    if not any(map(_SUSPECT.search, commands)):
        return []
    reader = _Reader()
    for command in commands:
        reader.line(command)
    told = dict.fromkeys(reader.found())
    return [Fault(command_field(commands, at), commands[at], *ending) for at, ending in told]


def command_field(commands: Sequence[str], position: int) -> str:
    """The field of a fault of one of the commands."""
    return f"commands[{position}]" if len(commands) > 1 else "commands"


# -- what a simple command does

_Ending = tuple[str, str]
"""The problem and the remedy."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^]]*\])?\+?=", re.ASCII)


def _ending(words: Sequence[str]) -> _Ending | None:
    name, *arguments = words
    match name:
        case "command" | "builtin" if arguments and not arguments[0].startswith("-"):
            return _ending(arguments)
        case "exit":
            return _exit(arguments)
        case "set":
            return _set(arguments)
        case "exec":
            return _exec(arguments)
    return None


def _exit(arguments: Sequence[str]) -> _Ending | None:
    code = arguments[0].strip("'\"") if arguments else ""
    if code.isascii() and code.isdigit():
        if int(code[-4:]) % 256 == 0 and len(code) <= 4:
            return None
        return f"ends the shell of the job with a failure; {_LOST}", f"use ( exit {code[:9]} ), which fails just there"
    return (
        f"ends the shell of the job, with a failure where the code is not 0; {_LOST}",
        "use ( exit … ), or put the commands into a script: bash script.sh",
    )


_OPTIONS = {
    "e": "makes the first command that fails end the shell of the job",
    "u": "makes a variable that is not set end the shell of the job",
}
_LONG_OPTIONS = {"errexit": "e", "nounset": "u"}


def _set(arguments: Sequence[str]) -> _Ending | None:
    for at, argument in enumerate(arguments):
        if argument == "--" or argument[:1] not in ("-", "+"):
            return None
        if argument[0] == "+":
            continue
        letters = argument[1:]
        if letters.endswith("o") and at + 1 < len(arguments):
            letters += _LONG_OPTIONS.get(arguments[at + 1], "")
        for letter, what in _OPTIONS.items():
            if letter in letters:
                return (
                    f"{what}; {_LOST}",
                    f"confine it: bash -c 'set -{letter}; …', or a script of its own: bash script.sh",
                )
        if argument.endswith("o"):
            return _set(arguments[at + 2 :])
    return None


def _exec(arguments: Sequence[str]) -> _Ending | None:
    while arguments and arguments[0].startswith("-"):
        arguments = arguments[2 if arguments[0].endswith("a") else 1 :]
    if not arguments:
        return None  # redirections alone: the shell goes on
    return (
        f"replaces the shell of the job: the commands after it do not run; and if it fails, {_LOST}",
        "leave out exec, or confine it: ( exec … )",
    )


# -- which simple commands the shell itself runs

_COMPOUNDS = {"{": "}", "if": "fi", "while": "done", "until": "done", "for": "done", "select": "done", "case": "esac"}
_ENDS = frozenset(_COMPOUNDS.values())
_SKIPPED = frozenset({"then", "do", "else", "elif", "!", "time"})
"""Reserved words after which a command begins."""


@dataclass(slots=True)
class _Level:
    """The whole text, a subshell or a compound command, with what was found in it: at which command, and what."""

    closer: str = ""
    found: list[tuple[int, _Ending]] = field(default_factory=list)
    commands: list[tuple[int, _Ending]] = field(default_factory=list)  # of the list under way: a && b || c
    pipeline: list[tuple[int, _Ending]] = field(default_factory=list)
    is_piped: bool = False
    in_pattern: bool = False

    def end_pipeline(self) -> None:
        """A pipeline of more than one command runs in subshells."""
        if not self.is_piped:
            self.commands += self.pipeline
        self.pipeline, self.is_piped = [], False

    def end_list(self, *, in_background: bool = False) -> None:
        """What runs in the background is a subshell."""
        self.end_pipeline()
        if not in_background:
            self.found += self.commands
        self.commands = []


class _Reader:
    """Reads command lines one after the other; compound commands may go over several."""

    def __init__(self) -> None:
        self._levels = [_Level()]
        self._words: list[str] = []
        self._at = -1

    def line(self, text: str) -> None:
        self._at += 1
        is_target = False
        for token, is_operator in _tokens(text):
            if not is_operator:
                if not is_target:
                    self._word(token)
                is_target = False
            elif "<" in token or ">" in token:
                is_target = True
            elif self._words[:1] != ["[["]:
                self._operator(token)
        self._end_command()
        self._levels[-1].end_list()

    def found(self) -> list[tuple[int, _Ending]]:
        """Everything, in order, also of what was not closed."""
        return sorted((each for level in self._levels if level.closer != ")" for each in level.found), key=_position)

    def _operator(self, token: str) -> None:
        level = self._levels[-1]
        if level.in_pattern:
            level.in_pattern = token != ")"
            return
        if token == "(":
            self._words = []
            self._levels.append(_Level(")"))
            return
        self._end_command()
        match token:
            case "|" | "|&":
                level.is_piped = True
            case "&&" | "||":
                level.end_pipeline()
            case ")":
                self._close(")")
            case _:
                level.end_list(in_background=token == "&")
                level.in_pattern = level.closer == "esac" and len(token) > 1

    def _word(self, token: str) -> None:
        level = self._levels[-1]
        if self._words:
            self._argument(token)
        elif token in _ENDS:
            self._close(token)
        elif level.in_pattern or token in _SKIPPED or _ASSIGNMENT.match(token):
            pass
        elif token in _COMPOUNDS:
            self._levels.append(_Level(_COMPOUNDS[token]))
            self._words = [token] if token in ("for", "select", "case") else []
        else:
            self._words = [token]

    def _argument(self, token: str) -> None:
        match self._words[0], token:
            case ("[[", "]]"):
                self._words = ["]]"]
            case ("case", "in"):
                self._words, self._levels[-1].in_pattern = [], True
            case ("function", "{"):
                self._words = []
                self._levels.append(_Level("}"))
            case _:
                self._words.append(token)

    def _end_command(self) -> None:
        if self._words and (ending := _ending(self._words)) is not None:
            self._levels[-1].pipeline.append((self._at, ending))
        self._words = []

    def _close(self, closer: str) -> None:
        if self._levels[-1].closer == closer:
            level = self._levels.pop()
            level.end_list()
            if closer != ")":
                self._levels[-1].pipeline += level.found


def _position(found: tuple[int, _Ending]) -> int:
    return found[0]


# -- words and operators

_OPERATOR = re.compile(r";;&|;;|;&|;|&&|&>>|&>|&|\|\||\|&|\||<<<|<<-?|<>|<&|<|>&|>>|>\||>|\(|\)")
_DESCRIPTOR = re.compile(r"[0-9]+|\{[A-Za-z_][A-Za-z0-9_]*\}")
_CLOSERS = {"'": "'", "$'": "'", '"': '"', "`": "`", "$(": ")", "${": "}", "<(": ")", ">(": ")", "(": ")"}
_IN_TEXT = re.compile(r"\$[({]|`")
_ANYWHERE = re.compile(r"\$[({']|[<>]\(|['\"`]")
_IN_PARENTHESES = re.compile(r"\$[({']|[<>]\(|['\"`(]")
_OPENERS = {'"': _IN_TEXT, "$(": _IN_PARENTHESES, "<(": _IN_PARENTHESES, ">(": _IN_PARENTHESES, "(": _IN_PARENTHESES}


def _tokens(line: str) -> Iterator[tuple[str, bool]]:
    """The words, quotes and all, and the operators of a line, each with whether it is an operator.

    A quote or a substitution without its end takes the rest of the line, as on a grid, whose next line closes it.
    """
    at = 0
    while at < len(line):
        end = _end_of_word(line, at)
        if end > at:
            if line[at] == "#":
                return
            if line[end : end + 1] not in ("<", ">") or not _DESCRIPTOR.fullmatch(line, at, end):
                yield line[at:end], False
        elif operator := _OPERATOR.match(line, at):
            end = operator.end()
            yield operator[0], True
        else:
            end = at + 1  # a blank
        at = end


def _end_of_word(line: str, at: int) -> int:
    while at < len(line):
        if opener := _ANYWHERE.match(line, at):
            at = _end_of(line, opener.end(), opener[0])
        elif line[at] in " \t;&|()<>":
            break
        else:
            at += 2 if line[at] == "\\" else 1
    return min(at, len(line))


def _end_of(line: str, at: int, opener: str) -> int:
    """Behind the end of a quote or a substitution, and of all that is in it."""
    open_ones = [opener]
    while open_ones and at < len(line):
        inner = open_ones[-1]
        if line[at] == "\\" and inner != "'":
            at += 2
        elif line[at] == _CLOSERS[inner]:
            open_ones.pop()
            at += 1
        elif (opened := _opened(line, at, open_ones)) is not None:
            open_ones.append(opened[0])
            at = opened.end()
        else:
            at += 1
    return at


def _opened(line: str, at: int, open_ones: Sequence[str]) -> re.Match[str] | None:
    inner = open_ones[-1]
    if inner in ("'", "$'", "`"):
        return None
    if inner == "${":
        return (_IN_TEXT if open_ones[-2:-1] == ['"'] else _ANYWHERE).match(line, at)
    return _OPENERS[inner].match(line, at)


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
