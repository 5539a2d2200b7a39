"""Finds likely mistakes in the text of commands. It does not parse bash, so it can err on exotic commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._core.models import Fault
from .._spec.keywords import KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 20_000  # the most characters of a command to read
_DEEPEST = 20  # the deepest nesting of subshells
_MOST_COMMANDS = 2000
# Each alternative stops where the next can begin, and none is tried twice: any text takes linear time.
_OPAQUE = re.compile(
    r"""\\.|\$'(?:[^'\\]|\\.)*+'|(?<!\$)'[^']*+'|"(?:[^"\\]|\\.)*+"|`[^`]*+`|\$\{[^{}]*+\}|(?<![^\s;&|()])\#.*"""
)
_SUBSHELL = re.compile(r"[$<>]?\([^()]*+\)")
_OPERATOR = re.compile(r"(;|&&|\|\||(?<![<>|&])&(?![>&])|[()]|\{(?=\s))")
_SKIPPED = re.compile(r"(?:(?:then|do|else|elif|!|time|if|while|until|command|builtin)|[A-Za-z_]\w*\+?=\S*)\s+")
_ENDING = re.compile(r"(exit|set|exec)(?!\S)")
_BRACKET = re.compile(r"([({`]|\b(?:if|do|case)\b)|[)}]|\b(?:fi|done|esac)\b")
_REDIRECTION = re.compile(r"(?<!\S)(?:[0-9]++|\{\w++\})?[<>]+[&|]?\s*+\S++")
_KEYWORD_LINE = re.compile(r":+([A-Za-z]+):+")
_SET_OPTIONS = {"errexit": "e", "nounset": "u"}
_SET_EFFECTS = {"e": "the first command that fails", "u": "a variable that is not set"}
_LOST = "; a grid then throws away all outputs and exit codes of the job, and runs it again while retries are left"


def warnings_of(commands: Sequence[str]) -> list[Fault]:
    """Return warnings for valid commands that may fail: those that end the shell, open quotes, lists of arguments."""
    warnings = endings(commands)
    if len(commands) > _MOST_COMMANDS:
        problem = f"there are {len(commands)}: a grid runs all in one group, and bash crashes at about 2,500"
        warnings.append(Fault("commands", commands[0], problem, "put them into a script: executables=['script.sh']"))
    for at, command in enumerate(commands):
        if at and command.startswith("-"):
            remedy = "for one command give a text: shlex.join(arguments)"
            warnings.append(Fault(f"commands[{at}]", command, "begins with '-': each entry is a command line", remedy))
            break
    for at, command in enumerate(commands):
        if (match := _KEYWORD_LINE.fullmatch(command)) and match[1].upper() in KEYWORDS:
            problem = "is a keyword of mRSL, but runs as a command, because the line before it is not blank"
            warnings.append(Fault(command_field(commands, at), command, problem, "put a blank line before it"))
    for at, command in enumerate(commands):
        if ("'" in command or '"' in command) and re.search("['\"]", _without_quotes(command, keep_open=True)):
            problem = "has an unbalanced quote: MiG closes it, and the exit code is 255"
            warnings.append(
                Fault(command_field(commands, at), command, problem, "close the quote, or write \\' or \\\"")
            )
    return warnings


def command_field(commands: Sequence[str], position: int) -> str:
    """Return the field of a fault of one of the commands."""
    return f"commands[{position}]" if len(commands) > 1 else "commands"


def endings(commands: Sequence[str]) -> list[Fault]:
    """Return the commands that end or may end the shell of the job. See docs/protocol.md#shell-endings."""
    text = "\n".join(map(_without_quotes, commands))
    if not _ENDING.search(text):
        return []
    for _ in range(_DEEPEST):
        text, count = _SUBSHELL.subn(lambda match: ";" if match[0] == "()" else "_" + "\n" * match[0].count("\n"), text)
        if not count:
            break
    places: dict[tuple[int, tuple[str, str]], None] = {}
    for at, line in enumerate(text.split("\n")):
        pieces = [*_OPERATOR.split(line), ";"]
        for command, operator in zip(pieces[::2], pieces[1::2], strict=True):
            # Background commands and pipelines run in subshells.
            if operator != "&" and "|" not in command and (ending := _ending(command.strip())):
                places[at, ending] = None
    return [Fault(command_field(commands, at), commands[at], *ending) for at, ending in places]


def unbalanced_command(commands: Sequence[str]) -> int:
    """Return the position of the command that opens or closes too much, by counting brackets and reserved words."""
    depth = position = 0
    for at, command in enumerate(commands):
        brackets = _BRACKET.findall(_without_quotes(command))
        depth += sum(1 if opening else -1 for opening in brackets)
        if depth < 0:
            return at
        position = position if depth else at + 1
    return min(position, len(commands) - 1)


def _without_quotes(command: str, *, keep_open: bool = False) -> str:
    """Return a command without its quotes, escapes and comments, and without what follows an open quote."""
    text = _OPAQUE.sub(_replacement, command[:_LONGEST].replace("\n", " "))
    return text if keep_open else re.split("['\"]", text, maxsplit=1)[0]


def _replacement(match: re.Match[str]) -> str:
    inner = match[0][1:-1]
    return "" if match[0][0] == "#" else inner if match[0][0] in "'\"" and inner.isalnum() else "_"


def _ending(command: str) -> tuple[str, str] | None:
    """Return the problem and the remedy of a simple command that ends its shell, or ``None``."""
    at = 0
    while skipped := _SKIPPED.match(command, at):
        at = skipped.end()
    if not (match := _ENDING.match(command, at)):
        return None
    words = _REDIRECTION.sub("", command[match.end() :]).split()
    if match[1] == "exec" and any(not word.startswith("-") for word in words):
        return f"replaces the shell of the job: later commands do not run; if it fails{_LOST}", "use ( exec … )"
    if match[1] == "set" and (option := _set_option(words)):
        problem = f"makes {_SET_EFFECTS[option]} end the shell of the job{_LOST}"
        return problem, f"confine it: bash -c 'set -{option}; …', or a script of its own: bash script.sh"
    code = words[0] if words else ""
    if match[1] == "exit" and not (code.isdecimal() and len(code) < 5 and int(code) % 256 == 0):
        return f"ends the shell of the job{_LOST}", f"use ( exit {code[:9] or '…'} ), which fails just there"
    return None


def _set_option(words: Sequence[str]) -> str | None:
    options = iter(words)
    for option in options:
        if option == "--" or option[0] not in "-+":
            break
        letters = option[1:] + (_SET_OPTIONS.get(next(options, ""), "") if option.endswith("o") else "")
        if option[0] == "-" and (fatal := [letter for letter in letters if letter in _SET_EFFECTS]):
            return fatal[0]
    return None
